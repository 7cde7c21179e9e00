"""The agent: responses, interim responses and upgrades, in memory."""

from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionDone
from twisted.web.client import ResponseDone
from twisted.web.iweb import IAgent, IClientRequest, IResponse
from zope.interface.verify import verifyObject

from clusterapp.errors import CoreBrokenError, CoreUnreachableError
from clusterapp.http.messages import RequestHead, ResponseHead
from clusterapp.http.response import WireResponse
from tests.unit.core_wire import (
    CHUNKED,
    EMPTY,
    GET,
    HEAD,
    OK,
    AgentTestCase,
    Body,
    Collector,
)

UPGRADE = RequestHead(
    b"GET",
    b"/chat",
    ((b"Host", b"core"), (b"Upgrade", b"raw"), (b"Connection", b"Upgrade")),
)
SWITCHED = b"HTTP/1.1 101 Go\r\nUpgrade: raw\r\nConnection: upgrade\r\n\r\n"


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
        """Whoever takes the body in the Deferred's callback costs no pause."""
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
        """Who comes late learns it as well, after what there was."""
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
        """It goes to the reactor, which logs it and closes the connection."""

        class Faulty(Collector):
            def dataReceived(self, data: bytes) -> None:
                raise ZeroDivisionError(data)

        self.answered(CHUNKED).deliverBody(Faulty())
        with self.assertRaises(ZeroDivisionError):
            self.wire.answer(b"1\r\na\r\n")


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


class UpgradeTests(AgentTestCase):
    """101, and the stream after it."""

    def test_raw_stream(self) -> None:
        """What was read comes first; then the stream is the protocol's own."""
        response = self.answered(SWITCHED + b"hello", UPGRADE)
        self.wire.sent()
        self.assertEqual(response.code, 101)
        self.assertTrue(self.wire.paused)
        self.wire.answer(b" and")  # it was on its way inside TLS
        stream = Collector()
        response.upgrade(stream)
        self.assertEqual(stream.body, b"hello and")
        self.assertFalse(self.wire.paused)
        self.assertIs(stream.transport, self.wire)
        self.wire.answer(b"\x00\r\n\r\nraw")
        stream.transport.write(b"back")  # type: ignore[union-attr]
        self.assertEqual(stream.body, b"hello and\x00\r\n\r\nraw")
        self.assertEqual(self.wire.sent(), b"back")
        self.wire.finish()
        self.assertTrue(stream.reason and stream.reason.check(ConnectionDone))

    def test_closed_before_it_is_taken(self) -> None:
        """Who comes late gets what there was, and the end."""
        response = self.answered(SWITCHED + b"bye", UPGRADE)
        self.wire.finish()
        stream = Collector()
        response.upgrade(stream)
        self.assertEqual(stream.body, b"bye")
        self.assertTrue(stream.reason and stream.reason.check(ConnectionDone))

    def test_given_up(self) -> None:
        """An upgraded connection that nobody wants is closed."""
        self.answered(SWITCHED, UPGRADE).abort()
        self.assertTrue(self.wire.aborted)

    def test_unasked(self) -> None:
        """A core that switches by itself has broken the exchange."""
        sent = self.send()
        self.wire.answer(SWITCHED)
        self.failureResultOf(sent, CoreBrokenError)
        self.assertTrue(self.wire.aborted)

    def test_before_the_body_has_been_sent(self) -> None:
        """The rest of the body would be part of the new protocol."""
        body = Body()
        sent = self.send(UPGRADE, body)
        self.wire.answer(SWITCHED)
        self.failureResultOf(sent, CoreBrokenError)
        self.assertEqual(body.did, ["start", "stop"])

    def test_declined(self) -> None:
        """An ordinary answer to an offer is an ordinary answer."""
        response = self.answered(OK, UPGRADE)
        with self.assertRaises(RuntimeError):
            response.upgrade(Collector())
        self.assertEqual(self.collected(response).body, b"ok")
        self.answered(EMPTY)
        self.assertEqual(len(self.core.wires), 1)

    def test_no_body(self) -> None:
        """A 101 has a stream, not a body."""
        with self.assertRaises(RuntimeError):
            self.answered(SWITCHED, UPGRADE).deliverBody(Collector())
