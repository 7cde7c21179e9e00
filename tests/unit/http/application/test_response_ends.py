"""
How responses end, well or badly, by twisted.web and by the engine.

They end alike, but for these, on purpose:

- A response that fails after its head was sent is broken off. twisted.web writes an
  error page into it, which clients take for a part of the body.
- A producer that is still registered at the end is logged as an error without a
  traceback, and forgotten.
- `loseConnection` after the end does nothing; twisted.web has an AttributeError.
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPullProducer, IPushProducer
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from tests.unit.http.side_by_side import Calling, Side, SideBySideTestCase, get, post


def waiting(request: Any, seen: list[Any]) -> int:
    """Leave everything to the test."""
    seen.append(request)
    request.notifyFinish().addBoth(lambda how: seen.append(getattr(how, "type", how)))
    return NOT_DONE_YET


@implementer(IPushProducer, IPullProducer)
class Producer:
    """Writes a piece each time it is asked, three in all."""

    def __init__(self, request: Any, seen: list[Any], *, unregisters: bool) -> None:
        self._request = request
        self._seen = seen
        self._left = 3
        self._unregisters = unregisters

    def resumeProducing(self) -> None:
        self._seen.append("resume")
        self._left -= 1
        self._request.write(b"piece")
        if not self._left:
            if self._unregisters:
                self._request.unregisterProducer()
            self._request.finish()

    def pauseProducing(self) -> None:
        self._seen.append("pause")

    def stopProducing(self) -> None:
        self._seen.append("stop")


class FinishTests(SideBySideTestCase):
    """`finish` and what comes too late."""

    def later(self, step: Callable[[Any, Side], Any], raw: bytes = get()) -> Any:
        """Take a step with a request that waits, on both sides."""

        def scenario(side: Side) -> Any:
            http_client = side.http_client()
            http_client.ask(raw)
            request = side.seen.pop()
            result = step(request, side)
            side.clock.pump([0] * 5)
            return result, http_client.answer(raw), http_client.transport.disconnecting

        return self.alike(lambda seen: Calling(waiting, seen), scenario)

    def error(self, call: Callable[..., Any], *args: Any) -> type[Exception] | None:
        try:
            call(*args)
        except (RuntimeError, ValueError) as error:
            return type(error)
        return None

    def test_finish_is_told(self) -> None:
        """Deferreds of notifyFinish fire with None."""

        def step(request: Any, side: Side) -> Any:
            request.write(b"x")
            told = list(side.seen)
            request.finish()
            return told, list(side.seen), request.finished, request.startedWriting

        (result, _, _) = self.later(step)
        self.assertEqual(result, ([], [None], 1, 1))

    def test_finish_twice(self) -> None:
        """A warning, and no second end."""

        def step(request: Any, side: Side) -> Any:
            request.write(b"x")
            request.finish()
            request.finish()
            return [(w["category"], w["message"]) for w in self.flushWarnings()]

        (warnings, _, _) = self.later(step)
        self.assertEqual(len(warnings), 1)

    def test_write_after_finish(self) -> None:
        """An error, unless no write of this response is sent anyway."""

        def step(request: Any, side: Side) -> Any:
            request.setResponseCode(int(request.path[1:]))
            request.write(b"x")
            request.finish()
            return self.error(request.write, b"y")

        for status in ("200", "404", "204", "304"):
            for method in ("GET", "HEAD"):
                self.later(step, get(f"/{status}", method=method))

    def test_client_goes(self) -> None:
        """It is told; writes go nowhere, and a finish is an error."""

        def gone(request: Any, seen: list[Any]) -> int:
            request.write(b"x")
            request.notifyFinish().addErrback(
                lambda why: seen.extend(
                    (
                        why.type,
                        request.write(b"y"),
                        self.error(request.finish),
                        self.error(request.finish),
                        request.loseConnection(),
                        request.channel,
                    )
                )
            )
            return NOT_DONE_YET

        def scenario(side: Side) -> Any:
            http_client = side.http_client()
            http_client.ask(get())
            http_client.goes()
            return bytes(http_client.transport.value()).count(b"y")

        self.alike(lambda seen: Calling(gone, seen), scenario)

    def test_client_goes_before_its_body_is_there(self) -> None:
        """Its request is never served."""

        def scenario(side: Side) -> None:
            http_client = side.http_client()
            http_client.ask(post(b"abc")[:-1])
            http_client.goes()

        self.alike(lambda seen: Calling(waiting, seen), scenario)

    def test_lose_connection(self) -> None:
        """The connection is closed once what was written has gone."""

        def step(request: Any, side: Side) -> Any:
            request.write(b"some")
            request.loseConnection()
            return None

        (_, answer, closing) = self.later(step)
        self.assertTrue(closing)
        self.assertIsNone(answer.body)
        _, ours = self.sides(lambda seen: Calling(lambda *_: b"", seen))
        self.assertIsNotNone(ours.http_client().ask(get()))

    def test_lose_connection_after_the_end(self) -> None:
        """The connection is no longer this request's to close."""
        _, ours = self.sides(lambda seen: Calling(waiting, seen))
        http_client = ours.http_client()
        http_client.ask(get())
        request = ours.seen[0]
        request.finish()
        request.loseConnection()
        self.assertEqual(http_client.transport.ended, "")


class ProducerTests(SideBySideTestCase):
    """Producers of a request."""

    def produced(self, *, streaming: bool, unregisters: bool = True) -> Side:
        """Write a response by a producer on both engines; return our engine's side."""
        sides = []

        def scenario(side: Side) -> Any:
            sides.append(side)
            http_client = side.http_client()
            http_client.ask(get())
            if streaming:
                for _ in range(3):
                    side.seen[0].resumeProducing()
            side.clock.pump([0] * 10)
            del side.seen[0]
            return http_client.answer()

        def handler(request: Any, seen: list[Any]) -> int:
            producer = Producer(request, seen, unregisters=unregisters)
            seen.append(producer)
            request.registerProducer(producer, streaming)
            seen.append((request.producer is producer, request.streamingProducer))
            return NOT_DONE_YET

        answer = self.alike(lambda seen: Calling(handler, seen), scenario)
        self.assertEqual(answer.body, b"piece" * 3)
        return sides[1]

    def test_push(self) -> None:
        self.produced(streaming=True)

    def test_pull(self) -> None:
        """It is asked until it has no more, and never again."""
        self.produced(streaming=False)

    def test_not_unregistered(self) -> None:
        """The response is complete; the mistake is logged, and the client goes on."""
        for streaming in (True, False):
            self.produced(streaming=streaming, unregisters=False)
            self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_twice(self) -> None:
        """A second one is refused."""

        def handler(request: Any, seen: list[Any]) -> bytes:
            first = Producer(request, [], unregisters=True)
            request.registerProducer(first, True)
            self.assertRaises(ValueError, request.registerProducer, first, True)
            request.unregisterProducer()
            request.unregisterProducer()
            request.registerProducer(first, True)
            request.unregisterProducer()
            seen.append(request.producer)
            return b"x"

        self.called(handler, get())

    def test_follows_the_client(self) -> None:
        """It is paused and resumed with the connection, and stopped with it."""

        def handler(request: Any, seen: list[Any]) -> int:
            request.registerProducer(Producer(request, seen, unregisters=True), True)
            return NOT_DONE_YET

        def scenario(side: Side) -> None:
            http_client = side.http_client()
            http_client.ask(get())
            channel: Any = http_client.transport.producer
            channel.pauseProducing()
            channel.resumeProducing()
            channel.pauseProducing()

        self.alike(lambda seen: Calling(handler, seen), scenario)


class FailureTests(SideBySideTestCase):
    """`processingFailed`."""

    def failing(self, *, late: bool) -> None:
        def handler(request: Any, seen: list[Any]) -> int:
            request.setHeader("x-kept", "1")
            request.setHeader("content-type", "a/b")
            if not late:
                raise ValueError("<secret>")
            reason = Failure(ValueError("<secret>"))
            seen.append(request.processingFailed(reason) is reason)
            return NOT_DONE_YET

        for raw in (get(), get(method="HEAD"), post(b"x")):
            (answer,) = self.called(handler, raw)
            self.assertEqual(answer.status, b"500 Internal Server Error")
            self.assertEqual(answer.field(b"x-kept"), [b"1"])
            self.assertNotIn(b"secret", answer.body or b"")
            self.assertEqual(len(self.flushLoggedErrors(ValueError)), 2)

    def test_raised(self) -> None:
        self.failing(late=False)

    def test_reported(self) -> None:
        self.failing(late=True)

    def test_traceback(self) -> None:
        """Shown to clients if the site says so; it has other places in it."""

        def handler(request: Any, seen: list[Any]) -> bytes:
            raise ValueError("<secret>")

        for side in self.sides(lambda seen: Calling(handler, seen)):
            side.site.displayTracebacks = True
            answer = side.http_client().ask(get())
            assert answer is not None
            self.assertEqual(answer.field(b"content-type"), [b"text/html"])
            self.assertIn(b"secret", answer.body or b"")
            self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_children_fail(self) -> None:
        """A resource that fails to find another is a 500, too."""

        class Lost(Resource):
            def getChild(self, path: bytes, request: Any) -> Resource:
                raise ValueError

        (answer,) = self.answers(lambda _: Lost(), get())
        self.assertEqual(answer.status[:3], b"500")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 2)

    def test_after_the_head(self) -> None:
        """The client sees that something is missing."""

        def handler(request: Any, seen: list[Any]) -> int:
            request.write(b"begun")
            raise ValueError

        _, ours = self.sides(lambda seen: Calling(handler, seen))
        http_client = ours.http_client()
        http_client.ask(get())
        self.assertEqual(http_client.transport.ended, "reset")
        self.assertNotIn(b"Failed", http_client.transport.value())
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_of_who_is_gone(self) -> None:
        """It is logged; nobody can be told."""

        def handler(request: Any, seen: list[Any]) -> int:
            def lost(reason: Failure) -> None:
                with self.assertRaises(RuntimeError):
                    request.processingFailed(reason)
                seen.append(request.code)

            request.notifyFinish().addErrback(lost)
            return NOT_DONE_YET

        def scenario(side: Side) -> None:
            http_client = side.http_client()
            http_client.ask(get())
            http_client.goes()

        self.alike(lambda seen: Calling(handler, seen), scenario)
        self.assertEqual(len(self.flushLoggedErrors(ConnectionDone)), 2)
