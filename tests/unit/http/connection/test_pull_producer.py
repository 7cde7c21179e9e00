"""
Producers as they come: those that declare nothing, and those that raise exceptions.

One that raises ends its response, is logged once and asked for nothing more; the
connection's callbacks, which an event loop calls, raise nothing.
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.server import NOT_DONE_YET

from clusterapp.http.site import ClusterSite
from tests.unit.http.clients import Client
from tests.unit.http.side_by_side import Calling, Side, SideBySideTestCase, get


class Plain:
    """A producer that declares no interface, as that of `twisted.web.twcgi`."""

    def __init__(self, request: Any, seen: list[str], failing: str = "") -> None:
        self._request = request
        self._seen = seen
        self._failing = failing
        self.left = 3

    def resumeProducing(self) -> None:
        self._note("resume")
        self._request.write(b"piece")
        self.left -= 1
        if not self.left:
            self._request.unregisterProducer()
            self._request.finish()

    def pauseProducing(self) -> None:
        self._note("pause")

    def stopProducing(self) -> None:
        self._note("stop")

    def _note(self, what: str) -> None:
        self._seen.append(what)
        if what in self._failing.split():
            raise ValueError(what)


def registered(*, streaming: bool, failing: str = "") -> Callable[..., int]:
    """Make a handler that registers a producer."""

    def handler(request: Any, seen: list[Any]) -> int:
        request.notifyFinish().addBoth(lambda how: seen.append(getattr(how, "type", 0)))
        request.registerProducer(Plain(request, seen, failing), streaming)
        return NOT_DONE_YET

    return handler


class UndeclaredTests(SideBySideTestCase):
    """Producers without an interface are taken as twisted.web takes them."""

    def test_pull(self) -> None:
        (answer,) = self.called(registered(streaming=False), get())
        self.assertEqual(answer.body, b"piece" * 3)

    def test_push(self) -> None:
        """It is paused and resumed as the client reads, and stopped when that goes."""

        def scenario(side: Side) -> None:
            http_client = side.http_client()
            http_client.ask(get())
            channel: Any = http_client.transport.producer
            channel.pauseProducing()
            channel.resumeProducing()
            channel.stopProducing()  # as real transports do before they tell the rest
            http_client.goes()

        self.alike(lambda seen: Calling(registered(streaming=True), seen), scenario)

    def test_client_goes_while_it_is_pulled(self) -> None:
        """It is asked for nothing more, and stopped."""

        def scenario(side: Side) -> None:
            http_client = side.http_client()
            http_client.ask(get())
            side.clock.pump([0])
            channel: Any = http_client.transport.producer
            channel.stopProducing()
            http_client.goes()
            side.clock.pump([0] * 5)

        self.alike(lambda seen: Calling(registered(streaming=False), seen), scenario)


class RaisingTests(SynchronousTestCase):
    """Producers that raise exceptions."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.seen: list[Any] = []

    def ask(self, *, streaming: bool, failing: str, wrote: bytes = b"") -> Client:
        register = registered(streaming=streaming, failing=failing)

        def handler(request: Any, seen: list[Any]) -> int:
            if wrote:
                request.write(wrote)
            return register(request, seen)

        site = ClusterSite(self.clock, Calling(handler, self.seen))
        client = Client(site, self.clock)
        self.addCleanup(client.goes)
        client.send(get())
        return client

    def assert_over(self, client: Client, *seen: str) -> None:
        """It is logged once, and nothing more is asked of the producer."""
        self.clock.pump([0] * 100)
        calls = [each for each in self.seen if isinstance(each, str)]
        self.assertEqual(calls, list(seen))
        self.assertFalse(client.connection.active)
        # With the request, and its stopProducing if that fails as well.
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_pull_at_once(self) -> None:
        """Nothing was sent: the client gets a 500, and the connection goes on."""
        client = self.ask(streaming=False, failing="resume")
        self.assert_over(client, "resume", "stop")
        self.assertTrue(client.received.startswith(b"HTTP/1.1 500 "), client.received)
        self.assertEqual(client.transport.ended, "")

    def test_pull_later(self) -> None:
        """After a piece the connection is broken off."""
        client = self.ask(streaming=False, failing="resume", wrote=b"first")
        self.clock.pump([0] * 100)
        self.assertEqual(client.transport.ended, "reset")
        self.assertTrue(client.received.endswith(b"5\r\nfirst\r\n"), client.received)
        self.assert_over(client, "resume", "stop")

    def test_push_pauses(self) -> None:
        client = self.ask(streaming=True, failing="pause", wrote=b"first")
        client.channel.pauseProducing()
        self.assertEqual(client.transport.ended, "reset")
        self.assert_over(client, "pause", "stop")

    def test_push_pauses_in_a_write(self) -> None:
        """It is paused by the write that begins, or is, the response: one response."""
        writes: dict[str, Callable[[Any], object]] = {
            "length": lambda request: request.write(b"first"),
            "chunked": lambda request: request.write(b"first"),
            "whole": lambda request: request.respond(b"first"),
            "end": lambda request: request.finish(),
        }
        for name, write in writes.items():
            with self.subTest(name):
                self.seen.clear()
                client = Client(
                    ClusterSite(self.clock, self.failing_in(name, write)), self.clock
                )
                self.pause_in_writes(client)
                client.send(get())
                self.clock.pump([0] * 10)
                self.assertEqual(
                    client.received.count(b"HTTP/1.1 "), 1, client.received
                )
                self.assertIn(b" 200 ", client.received)
                self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
                client.goes()

    def test_push_writes_when_paused(self) -> None:
        """What it writes follows the head, which is sent once."""

        class Writing(Plain):
            def pauseProducing(self) -> None:
                if not self._seen:
                    self._note("pause")
                    self._request.write(b"second")

        def handler(request: Any, seen: list[Any]) -> int:
            request.registerProducer(Writing(request, seen), True)
            request.write(b"first")
            return NOT_DONE_YET

        client = Client(
            ClusterSite(self.clock, Calling(handler, self.seen)), self.clock
        )
        self.pause_in_writes(client)
        client.send(get())
        self.assertEqual(client.received.count(b"HTTP/1.1 "), 1)
        self.assertTrue(client.received.endswith(b"\r\n5\r\nfirst\r\n6\r\nsecond\r\n"))
        client.goes()

    def failing_in(self, name: str, write: Callable[[Any], object]) -> Calling:
        """Make the resource whose producer fails when a write pauses it."""

        def handler(request: Any, seen: list[Any]) -> int:
            if name == "length":
                request.setHeader(b"content-length", b"10")
            request.registerProducer(Plain(request, seen, "pause"), True)
            write(request)
            return NOT_DONE_YET

        return Calling(handler, self.seen)

    def pause_in_writes(self, client: Client) -> None:
        """Make each write pause the producer, as a full transport does."""
        written = client.connection.write

        def write(data: bytes) -> None:
            written(data)
            client.channel.pauseProducing()

        client.connection.write = write

    def test_push_resumes(self) -> None:
        client = self.ask(streaming=True, failing="resume", wrote=b"first")
        client.channel.pauseProducing()
        client.channel.resumeProducing()
        self.assertEqual(client.transport.ended, "reset")
        self.assert_over(client, "pause", "resume", "stop")

    def test_push_stops(self) -> None:
        """The request hears of the client all the same."""
        client = self.ask(streaming=True, failing="stop", wrote=b"first")
        client.goes()
        self.assertIsInstance(self.seen[-1], type)
        self.assert_over(client, "stop")

    def test_registered_when_nobody_is_there(self) -> None:
        """It is stopped, as by Twisted's transports."""
        kept: list[Any] = []

        def handler(request: Any, _: list[Any]) -> int:
            kept.append(request)
            request.notifyFinish().addErrback(lambda _: None)
            return NOT_DONE_YET

        client = Client(ClusterSite(self.clock, Calling(handler, [])), self.clock)
        client.send(get())
        client.goes()
        kept[0].registerProducer(Plain(kept[0], self.seen), True)
        kept[0].unregisterProducer()
        self.assertEqual(self.seen, ["stop"])
