"""The agent: which connection a request goes out on."""

from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from clusterapp.errors import CoreBrokenError, CoreUnreachableError
from clusterapp.http.syntax.message_head import RequestHead
from clusterapp.http.upstream.upstream_connection import CoreConnection
from tests.unit.http.upstream.core_wire import (
    CHUNKED,
    EMPTY,
    GET,
    OK,
    AgentTestCase,
    Body,
    Collector,
    Wire,
)


class PoolTests(AgentTestCase):
    """Connections kept, re-used and closed."""

    def opened(self, number: int) -> list[Wire]:
        """Make so many connections, all idle now."""
        sent = [self.send() for _ in range(number)]
        for wire in self.core.wires[-number:]:
            wire.answer(OK)
        for each in sent:
            self.successResultOf(each)
        return self.core.wires[-number:]

    def test_one_after_another(self) -> None:
        """Requests that do not overlap share a connection."""
        for answer in (OK, EMPTY, CHUNKED + b"0\r\n\r\n", OK):
            self.answered(answer)
        self.assertEqual(len(self.core.wires), 1)

    def test_no_pipelining(self) -> None:
        """A connection has one request at a time, until the body's last byte."""
        self.answered(CHUNKED)
        self.send()
        self.assertEqual(len(self.core.wires), 2)

    def test_many_at_once(self) -> None:
        """As many connections as requests; each answer finds its own request."""
        sent = [self.send() for _ in range(200)]
        self.assertEqual(len(self.core.wires), 200)
        for number, wire in reversed(list(enumerate(self.core.wires))):
            wire.answer(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % (300 + number))
        codes = [self.successResultOf(each).code for each in sent]
        self.assertEqual(codes, list(range(300, 500)))

    def test_so_many_are_kept(self) -> None:
        """At most 64 stay when they have nothing to do."""
        wires = self.opened(70)
        self.assertEqual(sum(not wire.aborted for wire in wires), 64)

    def test_last_in_first_out(self) -> None:
        """The one used last is used next, so that the others may grow old."""
        first, second = self.opened(2)
        for wire in (first, second):
            wire.sent()
        self.send()
        self.assertEqual((first.sent() != b"", second.sent() != b""), (False, True))

    def test_old_ones_are_closed(self) -> None:
        """Thirty idle seconds end a connection; one that was used is younger."""
        first, second = self.opened(2)
        self.clock.advance(20)
        self.send()
        second.answer(OK)
        self.clock.advance(9.9)
        self.assertEqual((first.aborted, second.aborted), (False, False))
        self.clock.advance(0.1)
        self.assertEqual((first.aborted, second.aborted), (True, False))
        self.clock.advance(19.9)
        self.assertFalse(second.aborted)
        self.clock.advance(0.1)
        self.assertTrue(second.aborted)
        self.clock.advance(0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_busy_one_does_not_grow_old(self) -> None:
        """The clock counts idle time, not the time of a request."""
        (wire,) = self.opened(1)
        body = Collector()
        sent = self.send()
        wire.answer(CHUNKED)
        self.successResultOf(sent).deliverBody(body)
        self.clock.advance(1000)
        self.assertFalse(wire.aborted)
        wire.answer(b"0\r\n\r\n")
        self.clock.advance(29)
        self.assertFalse(wire.aborted)

    def test_closed_by_the_core(self) -> None:
        """An idle connection that the core closed is not used again."""
        (wire,) = self.opened(1)
        wire.finish()
        self.answered(OK)
        self.assertEqual(len(self.core.wires), 2)

    def test_lost_ones_make_room(self) -> None:
        """Connections that the core closed do not count among those kept."""
        for _ in range(128):
            self.send()
        for wire in self.core.wires:
            wire.answer(OK)
            if wire in self.core.wires[:64]:
                wire.finish()
        self.assertFalse(any(wire.aborted for wire in self.core.wires))

    def test_a_byte_on_an_idle_one(self) -> None:
        """Nobody asked: the connection is closed, and not used meanwhile."""
        (wire,) = self.opened(1)
        wire.answer(b"\r\n")
        self.assertTrue(wire.aborted)
        self.answered(OK)
        self.assertEqual(len(self.core.wires), 2)

    def test_not_reused(self) -> None:
        """A close of either side closes the connection after the response."""
        closing = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        asking = RequestHead(b"GET", b"/", ((b"Connection", b"close"),))
        for head, answer in (
            (GET, closing),
            (GET, b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
            (asking, OK),
        ):
            wires = len(self.core.wires)
            self.answered(answer, head)
            self.assertEqual(len(self.core.wires), wires + 1)
            self.assertTrue(self.wire.aborted)

    def test_reuse_from_within(self) -> None:
        """A request made at the end of a body finds the connection free."""
        again = []

        class Next(Collector):
            def connectionLost(self, reason: Failure = connectionDone) -> None:
                super().connectionLost(reason)
                again.append(send())

        send = self.send
        for answer in (OK, CHUNKED + b"0\r\n\r\n"):
            sent = self.send()
            sent.addCallback(lambda response: response.deliverBody(Next()))
            self.wire.answer(answer[:-1])
            self.wire.answer(answer[-1:])
            self.wire.answer(OK)
            self.assertEqual(self.successResultOf(again.pop()).code, 200)
        self.assertEqual(len(self.core.wires), 1)

    def test_reuse_before_the_body_is_taken(self) -> None:
        """A response that came whole has let go of its connection."""
        first = self.answered(OK)
        self.answered(OK)
        self.assertEqual(len(self.core.wires), 1)
        self.assertEqual(self.collected(first).body, b"ok")


class CloseTests(AgentTestCase):
    """The end of an agent."""

    def test_close(self) -> None:
        """Idle and busy connections end; the Deferred waits for the last one."""
        self.answered(OK)
        idle = self.wire
        body = self.collected(self.answered(CHUNKED))
        upload = Body()
        sent = self.send(GET, upload)
        closed = self.agent.close()
        self.assertNoResult(closed)
        self.clock.advance(0)
        self.successResultOf(closed)
        self.assertTrue(idle.aborted)
        self.assertTrue(body.reason and body.reason.check(CoreBrokenError))
        self.failureResultOf(sent, CoreBrokenError)
        self.assertEqual(upload.did, ["start", "stop"])

    def test_while_connecting(self) -> None:
        """An attempt is given up."""
        self.core.hold = True
        sent = self.send()
        self.successResultOf(self.agent.close())
        self.failureResultOf(sent, CoreUnreachableError)

    def test_afterwards(self) -> None:
        """No connection is made any more; closing again does no harm."""
        self.successResultOf(self.agent.close())
        self.failureResultOf(self.send(), CoreUnreachableError)
        self.assertEqual(self.core.wires, [])
        self.successResultOf(self.agent.close())


class HandshakeTests(AgentTestCase):
    """Over TLS, nothing is sent before both sides are known."""

    def setUp(self) -> None:
        super().setUp()
        self.core.secure = True

    @property
    def connection(self) -> CoreConnection:
        """The newest connection."""
        return self.wire._protocol

    def test_waits(self) -> None:
        """The request goes out when the handshake is complete."""
        verifyObject(IHandshakeListener, CoreConnection(self.agent))
        sent = self.send()
        self.assertEqual(self.wire.sent(), b"")
        self.connection.handshakeCompleted()
        self.assertNotEqual(self.wire.sent(), b"")
        self.wire.answer(OK)
        self.successResultOf(sent)

    def test_refused(self) -> None:
        """An upstream that fails the handshake has received no byte of the request."""
        body = Body()
        sent = self.send(GET, body)
        self.wire.break_off()
        failure = self.failureResultOf(sent, CoreUnreachableError)
        self.assertIsInstance(failure.value.__cause__, ConnectionLost)
        self.assertEqual((self.wire.sent(), body.did), (b"", []))

    def test_cancelled(self) -> None:
        """Giving up ends the handshake."""
        sent = self.send()
        sent.cancel()
        self.failureResultOf(sent)
        self.assertTrue(self.wire.aborted)
