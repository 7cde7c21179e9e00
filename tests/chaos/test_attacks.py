"""Clients that mean no good, where the master accepts and looks at what they send."""

import asyncio
import resource
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from clusterapp.master.distribution.request_peek import MOST
from tests.chaos.attacking import Attack, Ends, attack, dripping, fuzzed, saying
from tests.chaos.policies import WhereTheMasterAccepts
from tests.chaos.sites import ChaosCase
from tests.integration.running import eventually

#: What clients may take for a head and between requests, in seconds; and how much
#: later than both a loaded machine may be.
TIMEOUT, LATE = 2.0, 8.0

#: How many there are of each kind.
FUZZED, HUGE, SLOW, SILENT = 300, 12, 200, MOST + 200

#: What others ask for meanwhile; the core, which is the master, has connections of its
#: own.
TARGETS = ("/whoami/", "/padded/", "/chunked/")

#: A field's value of ten megabytes.
COOKIE = b"clusterapp_slot=" + b"0123456789" * 1_000_000


class AttackTests(WhereTheMasterAccepts, ChaosCase):
    """Others are served meanwhile, and nothing is left of it afterwards."""

    def test_sticky_by_header(self) -> None:
        self.check("--dispatch", "sticky", "--sticky", "header:X-Session")

    def check(self, *flags: str) -> None:
        """Attack a cluster with these flags in every way at once."""
        times = ("--header-timeout", f"{TIMEOUT}", "--keepalive-timeout", f"{TIMEOUT}")
        with (
            many_descriptors(),
            self.cluster(*flags, *times, "--drain-spread", "0") as running,
        ):
            before = descriptors(running.pid)
            with (
                self.load(running, targets=TARGETS, patience=TIMEOUT) as load,
                ThreadPoolExecutor(1) as executor,
            ):
                load.wait_for(100)
                ends = executor.submit(attack_in_every_way, running.port).result()
                load.wait_for_more(100)
                figures = load.report(f"attacked under {' '.join(flags)}")
            for name, end in ends.items():
                print(f"{name}: {end}")
            self.assert_served(figures, at_least=400)
            self.assert_refused(ends["huge"], "431")
            self.assert_refused(ends["slow"], "408")
            eventually(lambda: descriptors(running.pid) <= before)
            self.assert_stops(running)

    def assert_refused(self, ends: Ends, status: str) -> None:
        """Expect that all were refused, though not all can have read that."""
        lines = {line for line in ends.answers if line}
        self.assertTrue(lines)
        for line in lines:
            self.assertTrue(line.startswith(f"HTTP/1.1 {status} "), ends)


def attack_in_every_way(port: int) -> dict[str, Ends]:
    """Attack a port; return how the connections of each kind have ended."""
    huge = b"GET /whoami/1 HTTP/1.1\r\nHost: x\r\nCookie: %b\r\n\r\n" % COOKIE
    slow = b"GET /whoami/1 HTTP/1.1\r\nHost: x\r\nX-Slow: "
    kinds: dict[str, list[Attack]] = {
        "fuzzed": [saying(data) for data in fuzzed(FUZZED)],
        "huge": [saying(huge)] * HUGE,
        "slow": [dripping(slow)] * SLOW,
        "silent": [saying(b"")] * SILENT,
    }

    async def attack_at_once() -> list[Ends]:
        return await asyncio.gather(
            *(
                attack(port, attacks, patience=2 * TIMEOUT + LATE)
                for attacks in kinds.values()
            )
        )

    return dict(zip(kinds, asyncio.run(attack_at_once()), strict=True))


def descriptors(pid: int) -> int:
    """Count the descriptors that a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


@contextmanager
def many_descriptors() -> Iterator[None]:
    """Raise the soft limit of descriptors to the hard one, while the block runs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
