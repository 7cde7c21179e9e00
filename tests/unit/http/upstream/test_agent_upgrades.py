"""The agent: offers to switch protocols, and the streams that follow."""

from twisted.internet.error import ConnectionDone

from clusterapp.errors import CoreBrokenError
from clusterapp.http.syntax.message_head import RequestHead
from tests.unit.http.upstream.core_wire import EMPTY, OK, AgentTestCase, Body, Collector

UPGRADE = RequestHead(
    b"GET",
    b"/chat",
    ((b"Host", b"core"), (b"Upgrade", b"raw"), (b"Connection", b"Upgrade")),
)
SWITCHED = b"HTTP/1.1 101 Go\r\nUpgrade: raw\r\nConnection: upgrade\r\n\r\n"


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
        """A late consumer gets the bytes received, then the end of the connection."""
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
