"""Clients that ask without a pause for breath, and write down every failure."""

import asyncio
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import Self

from tests.chaos.asking import Asker, AskingError, Kind, Response
from tests.integration.running import DEADLINE, eventually

#: Tells who has given a body, as the answer to a target; raises a `ValueError` if the
#: body is not what it must be.
Check = Callable[[str, bytes], str]

#: How many failures are shown one by one.
_MOST_SHOWN = 10


@dataclass(frozen=True)
class Failure:
    """
    A request that was not answered.

    :param client: the number of the client.
    :param target: what it wanted.
    :param error: what has become of it.
    :param reused: whether its connection had been used before.
    :param last: what answered the client's last request; empty if nothing did.
    :param began: when it was to be sent, by `time.monotonic`.
    :param ended: when it had failed.
    """

    client: int
    target: str
    error: AskingError
    reused: bool
    last: str
    began: float
    ended: float

    @property
    def kind(self) -> Kind:
        """What has become of it, in a word."""
        return self.error.kind


@dataclass
class Figures:
    """What a load has found so far."""

    seconds: float = 0.0
    answered: int = 0
    reused: int = 0
    connections: int = 0
    failures: list[Failure] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    #: How many answers each one has given, by what the check says.
    answers: Counter[str] = field(default_factory=Counter)

    @property
    def kinds(self) -> Counter[Kind]:
        """How many requests have failed, by what has become of them."""
        return Counter(failure.kind for failure in self.failures)

    @property
    def worst(self) -> float:
        """The longest time that an answered request has taken, in seconds."""
        return max(self.latencies, default=0.0)

    def __str__(self) -> str:
        most = sorted(self.latencies)[int(len(self.latencies) * 0.99) :]
        kinds = ", ".join(f"{n} {kind}" for kind, n in self.kinds.items())
        first = [
            f"\n  {failure.error} ({failure.target}, client {failure.client}"
            f"{', reused' if failure.reused else ''}, after {failure.last or 'nobody'})"
            for failure in self.failures[:_MOST_SHOWN]
        ]
        return (
            f"{self.answered:,} requests answered in {self.seconds:.1f} s"
            f" ({self.answered / max(self.seconds, 0.001):,.0f} a second),"
            f" {self.reused:,} of them on reused connections;"
            f" {self.connections:,} connections, {len(self.answers)} answerers;"
            f" {len(self.failures)} failed{f' ({kinds})' if kinds else ''};"
            f" 99 % within {most[0] if most else 0.0:.3f} s, worst {self.worst:.3f} s"
        ) + "".join(first)


class Load:
    """
    Load on a server, while the block runs: some clients that keep their connections,
    some that make one for each request, each with one request at a time.

    They run in a thread of their own, and never send anything twice.

    :param port: where the server listens.
    :param check: judges bodies.
    :param kept: how many clients keep their connections.
    :param fresh: how many do not.
    :param per_second: how many requests all clients together send in a second, if
        the answers come fast enough.
    :param patience: seconds after which an answer is late.
    :param targets: what is asked for, in turns; each request adds a number of its own.
    :param addresses: where the clients connect from, in turns.
    """

    def __init__(  # noqa: PLR0913 - one for each thing that a test may choose
        self,
        port: int,
        check: Check,
        *,
        kept: int = 16,
        fresh: int = 8,
        per_second: float = 400.0,
        patience: float = 10.0,
        targets: Sequence[str] = ("/",),
        addresses: Sequence[str] = ("127.0.0.1",),
    ) -> None:
        self.figures = Figures()
        self._port = port
        self._check = check
        self._clients = [True] * kept + [False] * fresh
        self._addresses = addresses
        self._interval = len(self._clients) / per_second
        self._patience = patience
        self._targets = map("{}{}".format, itertools.cycle(targets), itertools.count(1))
        self._stopped = threading.Event()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="load")
        self._running: Future[None] | None = None

    def __enter__(self) -> Self:
        self._running = self._executor.submit(lambda: asyncio.run(self._run()))
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def finish(self) -> None:
        """Stop the clients after the requests that are under way."""
        self._stopped.set()

    def stop(self) -> Figures:
        """Wait for the clients' open requests; return what they have found."""
        self.finish()
        self._executor.shutdown()
        assert self._running is not None
        self._running.result()
        return self.figures

    def wait_for(self, count: int, *, deadline: float = DEADLINE) -> None:
        """Wait until so many requests have been answered in all."""
        eventually(lambda: self._has(count), deadline=deadline)

    def wait_for_more(self, count: int, *, deadline: float = DEADLINE) -> None:
        """Wait until so many more requests have been answered."""
        self.wait_for(self.figures.answered + count, deadline=deadline)

    def report(self, title: str) -> Figures:
        """Stop, and print what was found."""
        figures = self.stop()
        print(f"{title}: {figures}")
        return figures

    def _has(self, count: int) -> bool:
        assert self._running is not None
        if self._running.done():
            self._running.result()
        return self.figures.answered >= count

    async def _run(self) -> None:
        began = time.monotonic()
        spacing = self._interval / len(self._clients)
        async with asyncio.TaskGroup() as group:
            for number, keep in enumerate(self._clients):
                first = began + number * spacing
                group.create_task(self._live(number, first, keep=keep))
        self.figures.seconds = time.monotonic() - began

    async def _live(self, number: int, turn: float, *, keep: bool) -> None:
        """Run one client."""
        last = ""
        address = self._addresses[number % len(self._addresses)]
        with closing(Asker(self._port, address)) as asker:
            while not self._stopped.is_set():
                now = time.monotonic()
                await asyncio.sleep(max(0.0, turn - now))
                # Who was kept waiting does not catch up.
                turn = max(turn, now) + self._interval
                if not self._stopped.is_set():
                    last = await self._ask(asker, number, last, keep=keep)
        self.figures.connections += asker.connections

    async def _ask(self, asker: Asker, client: int, last: str, *, keep: bool) -> str:
        """Send one request; return what answered it, or an empty string."""
        target, began = next(self._targets), time.monotonic()
        figures = self.figures
        try:
            response = await asker.ask(target, keep=keep, patience=self._patience)
            who = self._checked(target, response)
        except AskingError as error:
            ended = time.monotonic()
            failure = Failure(client, target, error, asker.reuses, last, began, ended)
            figures.failures.append(failure)
            return ""
        figures.latencies.append(time.monotonic() - began)
        figures.answers[who] += 1
        figures.reused += asker.reuses
        figures.answered += 1
        return who

    def _checked(self, target: str, response: Response) -> str:
        shown = f"{response.status} {response.body[:200]!r}"
        if response.status != 200:
            raise AskingError("wrong", shown)
        try:
            return self._check(target, response.body)
        except ValueError as error:
            raise AskingError("wrong", f"{error}: {shown}") from error
