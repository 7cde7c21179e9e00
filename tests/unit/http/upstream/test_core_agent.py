"""The agent: responses and interim responses, in memory."""

from twisted.web.client import ResponseDone
from twisted.web.iweb import IAgent, IClientRequest, IResponse
from zope.interface.verify import verifyObject

from clusterapp.errors import CoreBrokenError
from clusterapp.http.upstream.upstream_response import WireResponse
from tests.unit.http.upstream.core_wire import (
    CHUNKED,
    GET,
    HEAD,
    OK,
    AgentTestCase,
    Collector,
)


class ResponseTests(AgentTestCase):
    """From the head to the end of the body."""

    def test_interfaces(self) -> None:
        """The agent and what it gives are what Twisted says they should be."""
        verifyObject(IAgent, self.agent)
        response = self.answered(OK)
        verifyObject(IResponse, response)
        verifyObject(IClientRequest, response.request)

    def test_head_and_body(self) -> None:
        """A response is what the core wrote."""
        response = self.answered(
            b"HTTP/1.1 201 Made\r\nSet-Cookie: a\r\nX: 1\r\nset-cookie: b\r\n"
            b"Content-Length: 2\r\n\r\nok"
        )
        self.assertEqual(response.version, (b"HTTP", 1, 1))
        self.assertEqual((response.code, response.phrase), (201, b"Made"))
        self.assertEqual(response.length, 2)
        self.assertEqual(response.head.fields[2], (b"set-cookie", b"b"))
        self.assertEqual(response.headers.getRawHeaders(b"set-cookie"), [b"a", b"b"])
        self.assertIs(response.headers, response.headers)
        body = self.collected(response)
        self.assertEqual(body.body, b"ok")
        self.assertTrue(body.reason and body.reason.check(ResponseDone))

    def test_body_arrives_in_pieces(self) -> None:
        """Each is passed on when it comes; the end is told once."""
        response = self.answered(CHUNKED)
        body = self.collected(response)
        self.wire.answer(b"2\r\nab\r\n3\r\ncde\r\n1\r\n")
        self.assertEqual(body.pieces, [b"abcde"])
        self.assertIsNone(body.reason)
        self.wire.answer(b"f\r\n0\r\nX-Sum: 6\r\n")
        self.assertIsNone(body.reason)
        self.wire.answer(b"\r\n")
        self.assertTrue(body.reason and body.reason.check(ResponseDone))
        self.assertEqual(body.body, b"abcdef")
        self.assertEqual(response.trailers, [(b"X-Sum", b"6")])

    def test_held_until_it_is_taken(self) -> None:
        """What came with the head is held, and the core is held back."""
        response = self.answered(CHUNKED + b"2\r\nab\r\n")
        self.assertTrue(self.wire.paused)
        self.wire.answer(b"1\r\nc\r\n")  # it was on its way inside TLS
        body = self.collected(response)
        self.assertFalse(self.wire.paused)
        self.assertEqual(body.body, b"abc")
        self.wire.answer(b"0\r\n\r\n")
        self.assertTrue(body.reason and body.reason.check(ResponseDone))

    def test_taken_at_once_is_never_paused(self) -> None:
        """A body consumed in the Deferred's callback causes no pause."""
        sent = self.send().addCallback(self.collected)
        self.wire.pauseProducing = self.fail  # type: ignore[method-assign]
        self.wire.answer(CHUNKED + b"2\r\nab\r\n")
        self.assertEqual(self.successResultOf(sent).body, b"ab")

    def test_the_reader_of_the_body_sets_the_pace(self) -> None:
        """Its transport pauses and resumes the socket, until the body ends."""
        response = self.answered(CHUNKED)
        body = self.collected(response)
        transport = body.transport
        transport.pauseProducing()  # type: ignore[union-attr]
        self.assertTrue(self.wire.paused)
        transport.resumeProducing()  # type: ignore[union-attr]
        self.assertFalse(self.wire.paused)
        self.wire.answer(b"0\r\n\r\n")
        self.send()
        transport.pauseProducing()  # type: ignore[union-attr]
        transport.stopProducing()  # type: ignore[union-attr]
        self.assertFalse(self.wire.paused, "another's response is paused")
        self.assertFalse(self.wire.aborted, "another's response is aborted")
        self.wire.answer(OK)

    def test_paused_at_the_end(self) -> None:
        """A connection paused by one reader is not paused for the next."""
        body = self.collected(self.answered(CHUNKED))
        body.transport.pauseProducing()  # type: ignore[union-attr]
        self.wire.answer(b"0\r\n\r\n")
        self.assertFalse(self.wire.paused)
        self.answered(OK)
        self.assertEqual(len(self.core.wires), 1)

    def test_pausing_while_being_connected(self) -> None:
        """A reader may pause before it has seen a byte."""

        class Slow(Collector):
            def connectionMade(self) -> None:
                self.transport.pauseProducing()  # type: ignore[union-attr]

        self.answered(CHUNKED).deliverBody(Slow())
        self.assertTrue(self.wire.paused)

    def test_giving_up_the_body(self) -> None:
        """Any way to stop closes the connection; the body is not called whole."""
        for name in ("stopProducing", "abortConnection", "loseConnection"):
            body = self.collected(self.answered(CHUNKED + b"1\r\na\r\n"))
            getattr(body.transport, name)()
            self.assertTrue(self.wire.aborted)
            for late in (b"1\r\nb\r\n", b"nonsense\r\n", b"0\r\n\r\n"):
                self.wire.answer(late)
            self.assertIsNone(body.reason)
            self.clock.advance(0)
            self.assertTrue(body.reason and body.reason.check(CoreBrokenError))
            self.assertEqual(body.body, b"a")

    def test_giving_up_as_soon_as_the_head_is_here(self) -> None:
        """What came with the head is not delivered any more."""
        body = Collector()

        def refuse(response: WireResponse) -> None:
            response.deliverBody(body)
            response.abort()

        self.send().addCallback(refuse)
        self.wire.answer(CHUNKED + b"1\r\na\r\n")
        self.clock.advance(0)
        self.assertEqual(body.body, b"")
        self.assertTrue(body.reason and body.reason.check(CoreBrokenError))

    def test_giving_up_the_response(self) -> None:
        """A response may be dropped before its body is taken."""
        response = self.answered(CHUNKED)
        response.abort()
        self.assertTrue(self.wire.aborted)
        self.clock.advance(0)
        body = self.collected(response)
        self.assertTrue(body.reason and body.reason.check(CoreBrokenError))

    def test_body_is_taken_once(self) -> None:
        """A second taker is refused, and does not harm the first."""
        response = self.answered(CHUNKED)
        self.collected(response)
        with self.assertRaises(RuntimeError):
            response.deliverBody(Collector())

    def test_no_body(self) -> None:
        """HEAD, 204 and 304: done with the head, and the connection is kept."""
        for head, answer in (
            (HEAD, OK[:-2]),
            (HEAD, CHUNKED),
            (GET, b"HTTP/1.1 204 X\r\n\r\n"),
            (GET, b"HTTP/1.1 304 X\r\nContent-Length: 7\r\n\r\n"),
        ):
            body = self.collected(self.answered(answer, head))
            self.assertEqual(body.body, b"")
            self.assertTrue(body.reason and body.reason.check(ResponseDone))
        self.answered(OK)
        self.assertEqual(len(self.core.wires), 1)

    def test_body_where_none_belongs(self) -> None:
        """With the head or after it, it costs the connection, not the response."""
        for pieces in ((OK,), (OK[:-2], b"ok")):
            sent = self.send(HEAD)
            wire = self.wire
            for piece in pieces:
                wire.answer(piece)
            self.successResultOf(sent)
            self.assertTrue(wire.aborted)
            self.clock.advance(0)


class InterimTests(AgentTestCase):
    """1xx responses."""

    def test_told_in_order(self) -> None:
        """All of them, before the final one, in the same piece or not."""
        sent = self.send()
        self.wire.answer(b"HTTP/1.1 100 A\r\n\r\nHTTP/1.1 103 B\r\nLink: x\r\n\r\n")
        self.assertNoResult(sent)
        self.wire.answer(b"HTTP/1.1 103 C\r\n\r\n" + OK)
        self.assertEqual(self.successResultOf(sent).code, 200)
        self.assertEqual([head.reason for head in self.interims], [b"A", b"B", b"C"])
        self.assertEqual(self.interims[1].fields, ((b"Link", b"x"),))

    def test_nobody_wants_them(self) -> None:
        """Without a listener they are dropped, and do not reach the next one."""
        sent = self.agent.send(GET)
        self.wire.answer(b"HTTP/1.1 103 A\r\n\r\n" + OK)
        self.successResultOf(sent)
        self.answered(OK)
        self.assertEqual(self.interims, [])
