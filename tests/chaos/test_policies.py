"""Reloads and deaths under every way to distribute connections."""

import contextlib
import os
import select
import signal
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

from clusterapp.master.distribution.fd_passing import MOST_WAITING
from tests.chaos.policies import EachPolicy, WhereTheMasterAccepts
from tests.chaos.sites import ChaosCase, pid_in, versions
from tests.integration.running import DEADLINE, RunningCluster, eventually

RELOADS = 4
WORKERS = 3
#: How many connections wait for workers, one of which never comes.
QUEUED = 45
#: More than may wait for two workers.
MANY = 2 * MOST_WAITING + 100

#: Where clients connect from: none of them is taken for a proxy.
ADDRESSES = [f"127.0.4.{number}" for number in range(1, 25)]


class ReloadTests(EachPolicy, ChaosCase):
    """Deploys that are well."""

    def check(self, *flags: str) -> None:
        """A few in a row; nothing fails."""
        with (
            self.cluster(*flags) as running,
            self.load(running, addresses=ADDRESSES) as load,
        ):
            load.wait_for(100)
            for number in range(2, RELOADS + 2):
                self.deploy.put("serving", f"{number}")
                self.assert_done("reload")
                load.wait_for_more(50)
            figures = load.report(f"{RELOADS} reloads with {' '.join(flags)}")
            self.assert_served(figures, at_least=400)
            self.assertEqual(versions(figures), set(map(str, range(1, RELOADS + 2))))
            self.assert_stops(running)


class QueueTests(EachPolicy, ChaosCase):
    """Connections that wait for a worker that will never come to them."""

    def check(self, *flags: str) -> None:
        """When it is killed, others answer them, or its replacement."""
        with (
            self.cluster(*flags, "--drain-spread", "0", workers=WORKERS) as running,
            contextlib.ExitStack() as clients,
        ):
            victim = pid_in(running, 1)
            os.kill(victim, signal.SIGSTOP)
            eventually(lambda: _state(victim) == "T")
            asked = [
                clients.enter_context(_ask(running, number)) for number in range(QUEUED)
            ]
            eventually(lambda: len(_answered(asked)) > QUEUED // WORKERS)
            waiting = QUEUED - len(_answered(asked))
            print(f"{' '.join(flags)}: {waiting} of {QUEUED} waited for a worker")
            os.kill(victim, signal.SIGKILL)
            for number, connection in enumerate(asked):
                answer = connection.recv(65536)
                self.assertTrue(answer.startswith(b"HTTP/1.1 200 OK\r\n"), answer)
                self.assertIn(b"request %d answered" % number, answer)
                self.assertNotIn(b"answered by %d " % victim, answer)
            self.assert_stops(running)


class FullTests(WhereTheMasterAccepts, ChaosCase):
    """More connections than may wait for workers that do not come to them."""

    def check(self, *flags: str) -> None:
        """Connections wait, and none is refused."""
        with (
            self.cluster(*flags, "--drain-spread", "0") as running,
            contextlib.ExitStack() as clients,
        ):
            workers = running.children()
            for pid in workers:
                os.kill(pid, signal.SIGSTOP)
            for pid in workers:
                eventually(lambda pid=pid: _state(pid) == "T")  # type: ignore[misc]
            asked = [
                clients.enter_context(_ask(running, number)) for number in range(MANY)
            ]
            self.assert_done("status")
            self.assertEqual(_answered(asked), [])
            for pid in workers:
                os.kill(pid, signal.SIGCONT)
            for number, connection in enumerate(asked):
                answer = connection.recv(65536)
                self.assertTrue(answer.startswith(b"HTTP/1.1 200 OK\r\n"), answer)
                self.assertIn(b"request %d answered" % number, answer)
            self.assertEqual(running.children(), workers)
            self.assert_stops(running)


@contextlib.contextmanager
def _ask(running: RunningCluster, number: int) -> Iterator[socket.socket]:
    """Send a request on a connection of its own, from one address or another."""
    source = ADDRESSES[number % len(ADDRESSES)], 0
    with socket.create_connection(
        ("127.0.0.1", running.port), DEADLINE, source
    ) as connection:
        connection.sendall(b"GET /whoami/%d HTTP/1.1\r\nHost: x\r\n\r\n" % number)
        yield connection


def _answered(asked: Sequence[socket.socket]) -> Sequence[socket.socket]:
    """Return on which connections an answer has come, or an end."""
    answered, _, _ = select.select(asked, [], [], 0)
    return answered


def _state(pid: int) -> str:
    """Return the state of a process, see proc(5)."""
    return Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0]
