"""The agent: what goes wrong with a request, and requests that are given up."""

from twisted.internet.defer import CancelledError
from twisted.web.client import ResponseDone

from clusterapp.errors import CoreBrokenError, CoreUnreachableError
from clusterapp.http.syntax.message_head import RequestHead, ResponseHead
from tests.unit.http.upstream.core_wire import (
    CHUNKED,
    GET,
    OK,
    AgentTestCase,
    Body,
    Collector,
)


class BrokenTests(AgentTestCase):
    """What goes wrong, before the head and after it."""

    def test_before_the_head(self) -> None:
        """A connection that ends too early fails the request, once."""
        for beginning in (b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 C\r\n\r\n"):
            for how in ("finish", "break_off"):
                sent = self.send()
                self.wire.answer(beginning)
                getattr(self.wire, how)()
                failure = self.failureResultOf(sent, CoreBrokenError)
                self.assertIsNotNone(failure.value.__cause__)
        self.assertEqual(len(self.core.wires), 6, "a request was sent again")

    def test_cut_off(self) -> None:
        """A body that stops short is never called whole."""
        for beginning, how in (
            (OK[:-1], "finish"),
            (OK[:-1], "break_off"),
            (CHUNKED + b"1\r\na\r\n", "finish"),
            (CHUNKED + b"1\r\na\r\n0\r\n", "finish"),
            (b"HTTP/1.1 200 OK\r\n\r\nabc", "break_off"),
        ):
            body = self.collected(self.answered(beginning))
            getattr(self.wire, how)()
            self.assertTrue(body.reason and body.reason.check(CoreBrokenError))

    def test_cut_off_before_it_is_taken(self) -> None:
        """A late consumer gets the bytes received, then CoreBrokenError."""
        response = self.answered(OK[:-1])
        self.wire.finish()
        body = self.collected(response)
        self.assertEqual(body.body, b"o")
        self.assertTrue(body.reason and body.reason.check(CoreBrokenError))

    def test_until_close(self) -> None:
        """Without any length, an orderly close is the end of the body."""
        body = self.collected(self.answered(b"HTTP/1.1 200 OK\r\n\r\nab"))
        self.wire.answer(b"c")
        self.wire.finish()
        self.assertEqual(body.body, b"abc")
        self.assertTrue(body.reason and body.reason.check(ResponseDone))

    def test_until_close_given_up(self) -> None:
        """Our own close is not the end of such a body."""
        body = self.collected(self.answered(b"HTTP/1.1 200 OK\r\n\r\nab"))
        body.transport.loseConnection()  # type: ignore[union-attr]
        self.wire.finish()
        self.assertTrue(body.reason and body.reason.check(CoreBrokenError))

    def test_garbage(self) -> None:
        """What is not HTTP closes the connection at once."""
        sent = self.send()
        self.wire.answer(b"SSH-2.0-x\r\n")
        self.failureResultOf(sent, CoreBrokenError)
        self.assertTrue(self.wire.aborted)

    def test_garbage_in_the_body(self) -> None:
        """So it does after the head; the body fails."""
        body = self.collected(self.answered(CHUNKED))
        self.wire.answer(b"nonsense\r\n")
        self.assertTrue(body.reason and body.reason.check(CoreBrokenError))
        self.assertTrue(self.wire.aborted)

    def test_more_than_its_length(self) -> None:
        """A body that is longer than it said is no body."""
        sent = self.send()
        self.wire.answer(OK + b"more")
        self.failureResultOf(sent, CoreBrokenError)
        self.assertTrue(self.wire.aborted)

    def test_unreachable(self) -> None:
        """Without a connection nothing was sent, and the error says so."""
        self.core.refuse = True
        failure = self.failureResultOf(self.send(), CoreUnreachableError)
        self.assertIn("refused", str(failure.value))

    def test_invalid_head(self) -> None:
        """A head that would be read as something else is not sent."""
        for head in (
            RequestHead(b"GET", b"/ HTTP/1.1\r\nX: y", ()),
            RequestHead(b"GET", b"/a b", ()),
            RequestHead(b"GE T", b"/", ()),
            RequestHead(b"", b"/", ()),
            RequestHead(b"GET", b"", ()),
            RequestHead(b"GET", b"/", ((b"X", b"a\r\nY: b"),)),
            RequestHead(b"GET", b"/", ((b"X", b"a\nY: b"),)),
            RequestHead(b"GET", b"/", ((b"X\rY", b"b"),)),
            RequestHead(b"GET", b"/", ((b"X", b"\0"),)),
        ):
            self.failureResultOf(self.send(head), ValueError)
        self.assertEqual(self.core.wires, [])

    def test_an_error_of_the_reader_is_not_swallowed(self) -> None:
        """It is logged, ends its call, and closes the connection."""

        class Faulty(Collector):
            def dataReceived(self, data: bytes) -> None:
                raise ZeroDivisionError(data)

        faulty = Faulty()
        self.answered(CHUNKED).deliverBody(faulty)
        self.wire.answer(b"1\r\na\r\n")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertTrue(self.wire.aborted)
        assert faulty.reason is not None
        self.assertIsInstance(faulty.reason.value, ZeroDivisionError)


class CancelTests(AgentTestCase):
    """Giving up a request."""

    def test_before_the_head(self) -> None:
        """The connection is closed, and only the cancellation is told."""
        body = Body()
        sent = self.send(GET, body)
        sent.cancel()
        self.failureResultOf(sent, CancelledError)
        self.assertTrue(self.wire.aborted)
        self.assertEqual(body.did, ["start", "stop"])
        self.wire.answer(OK)
        self.clock.advance(0)
        self.assertEqual(body.did, ["start", "stop"])

    def test_while_connecting(self) -> None:
        """The attempt is given up; the body was never asked for."""
        self.core.hold = True
        body = Body()
        sent = self.send(GET, body)
        sent.cancel()
        self.failureResultOf(sent, CancelledError)
        self.assertEqual((self.core.cancelled, body.did), (1, []))

    def test_in_an_interim_response(self) -> None:
        """What follows in the same piece is not passed on."""
        seen: list[ResponseHead] = []

        def give_up(head: ResponseHead) -> None:
            seen.append(head)
            sent.cancel()

        sent = self.agent.send(GET, None, give_up)
        self.wire.answer(b"HTTP/1.1 103 A\r\n\r\nHTTP/1.1 103 B\r\n\r\n" + OK)
        self.failureResultOf(sent, CancelledError)
        self.assertEqual([head.reason for head in seen], [b"A"])
        # There is the close to come, but no timer of a connection that is kept.
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
