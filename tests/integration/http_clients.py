"""Many clients of one site, each of which can be told from the others all the time."""

import http.client
import itertools
import json
import random
import ssl
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.cookiejar import CookieJar
from typing import Any
from urllib.request import Request

from tests.integration.running import DEADLINE

#: How many clients ask at the same time.
THREADS = 8

#: What a thread waits between two requests when clients ask all the time, in seconds.
BREATH = 0.012

#: How long a client waits before it asks again what was not answered, in seconds.
_PAUSE = 0.02


@dataclass(frozen=True)
class Way:
    """
    A way to the site.

    :param name: what it is called when a test fails.
    :param port: where it is, on the loopback interface.
    :param keeps: whether clients keep their connections, or make one each time.
    :param tls: how clients check its certificate, if it has one.
    """

    name: str
    port: int
    keeps: bool = True
    tls: ssl.SSLContext | None = None

    def connect(self, address: str) -> http.client.HTTPConnection:
        """Connect to it from an address."""
        if self.tls is None:
            return http.client.HTTPConnection(
                "127.0.0.1", self.port, timeout=DEADLINE, source_address=(address, 0)
            )
        return http.client.HTTPSConnection(
            *("127.0.0.1", self.port),
            timeout=DEADLINE,
            source_address=(address, 0),
            context=self.tls,
        )


class RefusedError(Exception):
    """
    An answer that is none.

    :param status: its status.
    """

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"{status} {body[:200]!r}")
        self.status = status


class HttpClient:
    """
    One client.

    :param number: which one, below 60,000.
    :param ways: where it asks; through the first of them at first.
    :ivar address: where it connects from.
    :ivar jar: its cookies.
    """

    def __init__(self, number: int, *ways: Way) -> None:
        self.number = number
        self.ways = ways
        self.address = f"127.1.{number // 250}.{number % 250 + 1}"
        self.jar = CookieJar()
        self._connections: dict[Way, http.client.HTTPConnection] = {}

    def ask(
        self,
        way: Way,
        path: str = "/where",
        body: str | None = None,
        **query: str,
    ) -> Mapping[str, Any]:
        """
        Ask once, and give what the answer says.

        :param body: what to send, if anything.
        :param query: more for the target.
        :raise RefusedError: the answer has another status than 200.
        :raise OSError: there is none.
        :raise http.client.HTTPException: it is none, or not whole.
        """
        target, fields = self.marks(way, path, **query)
        connection = self._connections.get(way) or way.connect(self.address)
        try:
            method = "GET" if body is None else "POST"
            connection.request(method, target, body, dict(fields))
            response = connection.getresponse()
            text = response.read()
        except BaseException:
            connection.close()
            self._connections.pop(way, None)
            raise
        if way.keeps:
            self._connections[way] = connection
        else:
            connection.close()
        self.jar.extract_cookies(response, self._request(way))
        if response.status != 200:
            raise RefusedError(response.status, text)
        said: Mapping[str, Any] = json.loads(text)
        return said

    def marks(self, way: Way, path: str, **query: str) -> tuple[str, Mapping[str, str]]:
        """Return a target and fields by all of which it can be told from the others."""
        request = self._request(way)
        self.jar.add_cookie_header(request)
        fields = {"X-Session": f"session {self.number}"}
        if cookie := request.get_header("Cookie"):
            fields["Cookie"] = cookie
        more = "".join(f"&{name}={value}" for name, value in query.items())
        return f"{path}?user=user+{self.number}{more}", fields

    def close(self) -> None:
        """Close all connections."""
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()

    def _request(self, way: Way) -> Request:
        """Write what the jar wants to know."""
        scheme = "http" if way.tls is None else "https"
        return Request(f"{scheme}://127.0.0.1:{way.port}/")


#: Chooses some of a client's ways.
Through = Callable[[HttpClient], Sequence[Way]]


@dataclass(frozen=True)
class Answer:
    """The worker and client of a response, and its connection to the site."""

    http_client: int
    way: str
    slot: int
    pid: int
    connection: str


@dataclass(frozen=True)
class Failure:
    """
    A request that was not answered.

    :param kind: what has become of it: a status, or the name of an exception.
    """

    http_client: int
    way: str
    kind: str
    detail: str


@dataclass
class Findings:
    """What a crowd has seen in a while."""

    answers: list[Answer] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def homes(self) -> Mapping[int, int]:
        """Return each client's slot; fail if a client had several."""
        seen: dict[int, set[int]] = defaultdict(set)
        for answer in self.answers:
            seen[answer.http_client].add(answer.slot)
        astray = {
            http_client: slots for http_client, slots in seen.items() if len(slots) > 1
        }
        assert not astray, self._stories(astray)
        return {http_client: slot for http_client, (slot,) in seen.items()}

    def connections(self, way: str) -> Mapping[str, int]:
        """Return how many clients' requests each of a way's connections has had."""
        seen: dict[str, set[int]] = defaultdict(set)
        for answer in self.answers:
            if answer.way == way:
                seen[answer.connection].add(answer.http_client)
        return {
            connection: len(http_clients) for connection, http_clients in seen.items()
        }

    def __str__(self) -> str:
        kinds = Counter(f"{each.kind} {each.way}" for each in self.failures)
        return f"{len(self.answers):,} answers, failures: {dict(kinds)}"

    def _stories(self, http_clients: Mapping[int, set[int]]) -> str:
        """Return what has happened to the first few clients with several slots."""
        shown = [f"{len(http_clients)} have had several slots"]
        for http_client in sorted(http_clients)[:3]:
            own = [
                answer for answer in self.answers if answer.http_client == http_client
            ]
            shown += map(str, own)
        return "\n".join(shown)


class Crowd:
    """
    Clients that ask through all of their ways, in turns that chance decides.

    A request that is not answered is a failure, and is sent again until it is.

    :param http_clients: the clients.
    """

    def __init__(self, http_clients: Sequence[HttpClient]) -> None:
        self._visitors = http_clients

    def arrive(self) -> Findings:
        """Send one request of each client, through the first of its ways."""
        return self._ask(1, lambda http_client: http_client.ways[:1])

    def ask(self, times: int) -> Findings:
        """Send so many requests of each client through each of its ways."""
        return self._ask(times, lambda http_client: http_client.ways)

    @contextmanager
    def asking(self) -> Iterator[Findings]:
        """Send requests of all clients continuously while the block runs."""
        findings = Findings()
        ended = threading.Event()
        with ThreadPoolExecutor(1) as executor:
            done = executor.submit(
                self._run,
                findings,
                lambda http_client: http_client.ways,
                # With a pause: there is more to do for the processors meanwhile.
                lambda _: not ended.wait(BREATH),
            )
            try:
                yield findings
            finally:
                ended.set()
            done.result()

    def close(self) -> None:
        """Close all connections."""
        for http_client in self._visitors:
            http_client.close()

    def _ask(self, times: int, through: Through) -> Findings:
        findings = Findings()
        self._run(findings, through, lambda turn: turn < times)
        return findings

    def _run(
        self, findings: Findings, through: Through, goes_on: Callable[[int], bool]
    ) -> None:
        parts = [self._visitors[first::THREADS] for first in range(THREADS)]
        with ThreadPoolExecutor(THREADS) as executor:
            lives = [
                executor.submit(_live, part, findings, through, goes_on)
                for part in parts
            ]
        for life in lives:
            life.result()


def _live(
    http_clients: Sequence[HttpClient],
    findings: Findings,
    through: Through,
    goes_on: Callable[[int], bool],
) -> None:
    """Run some clients, one after the other."""
    turns = [(each, way) for each in http_clients for way in through(each)]
    for turn in itertools.takewhile(goes_on, itertools.count()):
        random.Random(turn).shuffle(turns)
        for http_client, way in turns:
            if not goes_on(turn):
                return
            findings.answers.append(_answered(http_client, way, findings.failures))


def _answered(http_client: HttpClient, way: Way, failures: list[Failure]) -> Answer:
    """Ask until there is an answer."""
    until = time.monotonic() + DEADLINE
    while True:
        try:
            said = http_client.ask(way)
            break
        except RefusedError as error:
            kind, detail = str(error.status), str(error)
        except (OSError, http.client.HTTPException) as error:
            kind, detail = type(error).__name__, str(error)
        failures.append(Failure(http_client.number, way.name, kind, detail))
        assert time.monotonic() < until, failures[-1]
        time.sleep(_PAUSE)
    assert said["client"] == http_client.address, said
    return Answer(
        *(http_client.number, way.name),
        *(said["slot"], said["pid"], said["connection"]),
    )
