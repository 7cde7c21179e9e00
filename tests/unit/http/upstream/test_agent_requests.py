"""The agent: what it writes."""

from io import BytesIO
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import Cooperator
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import FileBodyProducer, ResponseDone
from zope.interface.verify import verifyObject

from clusterapp.errors import CoreBrokenError
from clusterapp.http.syntax.message_head import RequestHead
from clusterapp.http.syntax.request_encoding import BodySender
from tests.unit.http.upstream.core_wire import CHUNKED, OK, POST, AgentTestCase, Body


class HeadTests(AgentTestCase):
    """The head of a request."""

    def test_byte_for_byte(self) -> None:
        """Target and fields go out as they are, with their repeats."""
        self.send(
            RequestHead(
                b"PROPFIND",
                b"//a%2Fb;c/%zz/\xff?",
                ((b"hOst", b"x"), (b"X-A", b" 1 "), (b"Y", b""), (b"x-a", b"\xe9")),
            )
        )
        self.assertEqual(
            self.wire.sent(),
            b"PROPFIND //a%2Fb;c/%zz/\xff? HTTP/1.1\r\n"
            b"hOst: x\r\nX-A:  1 \r\nY: \r\nx-a: \xe9\r\n\r\n",
        )

    def test_one_write(self) -> None:
        """A request without a body is one write."""
        writes: list[bytes] = []
        self.answered(OK)
        self.wire.write = writes.append  # type: ignore[method-assign]
        self.send()
        self.assertEqual(writes, [b"GET / HTTP/1.1\r\nHost: core\r\n\r\n"])

    def test_framing_is_ours(self) -> None:
        """What the fields say of a body gives way to what the body is."""
        fields = (
            (b"content-LENGTH", b"99"),
            (b"A", b"1"),
            (b"Transfer-Encoding", b"gzip, chunked"),
        )
        head = RequestHead(b"POST", b"/", fields)
        for body, framing in (
            (None, b""),
            (Body(7), b"Content-Length: 7\r\n"),
            (Body(0), b"Content-Length: 0\r\n"),
            (Body(), b"Transfer-Encoding: chunked\r\n"),
        ):
            self.send(head, body)
            self.assertEqual(
                self.wire.sent(), b"POST / HTTP/1.1\r\nA: 1\r\n" + framing + b"\r\n"
            )

    def test_empty_content_stays(self) -> None:
        """A POST that says that its body is empty goes on saying so."""
        self.send(RequestHead(b"POST", b"/", ((b"Content-length", b"0"),)))
        self.assertEqual(
            self.wire.sent(), b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n"
        )


class BodyTests(AgentTestCase):
    """The body of a request."""

    def started(self, body: Body) -> None:
        """Send a request, and put its head out of sight."""
        self.sent = self.send(POST, body)
        self.wire.sent()

    def test_known_length(self) -> None:
        """It is sent as it is, and the connection is kept."""
        body = Body(5)
        self.started(body)
        body.write(b"he")
        body.write(b"llo")
        body.done.callback(None)
        self.assertEqual(self.wire.sent(), b"hello")
        self.assertIsNone(self.wire.producer)
        self.wire.answer(OK)
        self.answered(OK)
        self.assertEqual(len(self.core.wires), 1)
        self.assertEqual(body.did, ["start"])

    def test_unknown_length(self) -> None:
        """It is sent in chunks; an empty piece does not end it."""
        body = Body()
        self.started(body)
        body.write(b"hello, core and all")
        body.write(b"")
        body.write(b"!")
        self.assertEqual(self.wire.sent(), b"13\r\nhello, core and all\r\n1\r\n!\r\n")
        body.done.callback(None)
        self.assertEqual(self.wire.sent(), b"0\r\n\r\n")

    def test_trailers(self) -> None:
        """They are read at the end, and follow the last chunk."""
        body = Body(trailers=[])
        self.started(body)
        body.trailers = [(b"X-Sum", b"1"), (b"Content-Length", b"9"), (b"Y", b"")]
        body.done.callback(None)
        self.assertEqual(self.wire.sent(), b"0\r\nX-Sum: 1\r\nY: \r\n\r\n")

    def test_invalid_trailers(self) -> None:
        """A trailer with a line break would be the beginning of something else."""
        body = Body(trailers=[(b"X", b"a\r\n\r\nGET /")])
        self.started(body)
        body.done.callback(None)
        self.failureResultOf(self.sent, ValueError)
        self.assertEqual(self.wire.sent(), b"")
        self.assertTrue(self.wire.aborted)

    def test_short(self) -> None:
        """A body that ends short leaves the core waiting: the connection goes."""
        body = Body(3)
        self.started(body)
        body.write(b"ab")
        body.done.callback(None)
        self.failureResultOf(self.sent, CoreBrokenError)
        self.assertTrue(self.wire.aborted)
        self.assertEqual(body.did, ["start"])

    def test_long(self) -> None:
        """What is too much is not sent: it would be another request."""
        body = Body(3)
        self.started(body)
        body.write(b"abc")
        body.write(b"d")
        self.failureResultOf(self.sent, CoreBrokenError)
        self.assertTrue(self.wire.aborted)
        self.assertEqual(self.wire.sent(), b"abc")
        self.assertEqual(body.did, ["start", "stop"])

    def test_failed(self) -> None:
        """A producer's own error is the request's."""
        body = Body()
        self.started(body)
        body.done.errback(ZeroDivisionError())
        self.failureResultOf(self.sent, ZeroDivisionError)
        self.assertTrue(self.wire.aborted)

    def test_failed_at_once(self) -> None:
        """So it is when the producer does not even start."""

        class Faulty(Body):
            def startProducing(self, consumer: object) -> None:  # type: ignore[override]
                raise ZeroDivisionError(consumer)

        sent = self.send(POST, Faulty())
        self.failureResultOf(sent, ZeroDivisionError)
        self.assertTrue(self.wire.aborted)

    def test_failed_after_the_head(self) -> None:
        """With the response under way, its body fails."""
        body = Body()
        self.started(body)
        self.wire.answer(CHUNKED)
        received = self.collected(self.successResultOf(self.sent))
        body.done.errback(ZeroDivisionError())
        self.assertTrue(received.reason and received.reason.check(ZeroDivisionError))

    def test_at_the_pace_of_the_transport(self) -> None:
        """The producer is paused and resumed, and only while it produces."""
        body = Body()
        self.started(body)
        self.assertTrue(self.wire.streaming)
        producer: Any = self.wire.producer
        verifyObject(IPushProducer, producer)
        producer.pauseProducing()
        producer.resumeProducing()
        body.done.callback(None)
        producer.pauseProducing()
        producer.resumeProducing()
        producer.stopProducing()
        self.assertEqual(body.did, ["start", "pause", "resume"])

    def test_both_ways_at_once(self) -> None:
        """The response begins before the body ends; both go on."""
        body = Body()
        self.started(body)
        self.wire.answer(CHUNKED + b"1\r\na\r\n")
        received = self.collected(self.successResultOf(self.sent))
        body.write(b"x")
        self.wire.answer(b"1\r\nb\r\n")
        self.assertEqual(self.wire.sent(), b"1\r\nx\r\n")
        self.assertEqual(received.body, b"ab")
        body.done.callback(None)
        self.wire.answer(b"0\r\n\r\n")
        self.assertTrue(received.reason and received.reason.check(ResponseDone))
        self.answered(OK)
        self.assertEqual(len(self.core.wires), 1)

    def test_answer_before_the_end(self) -> None:
        """A whole answer stops the body, and the connection is not used again."""
        body = Body()
        self.started(body)
        body.write(b"x")
        self.wire.sent()
        self.wire.answer(OK)
        received = self.collected(self.successResultOf(self.sent))
        self.assertEqual(received.body, b"ok")
        self.assertTrue(received.reason and received.reason.check(ResponseDone))
        self.assertEqual(body.did, ["start", "stop"])
        self.assertTrue(self.wire.aborted)
        body.write(b"late")
        body.done.callback(None)
        self.assertEqual(self.wire.sent(), b"")
        self.answered(OK)
        self.assertEqual(len(self.core.wires), 2)

    def test_stopped_once_when_the_connection_breaks(self) -> None:
        """Not by the transport and by us."""
        body = Body()
        self.started(body)
        self.wire.break_off()
        self.failureResultOf(self.sent, CoreBrokenError)
        self.assertEqual(body.did, ["start", "stop"])

    def test_file_bodies(self) -> None:
        """Twisted's own producer of files can be stopped at any time."""
        cooperator = Cooperator(scheduler=lambda step: self.clock.callLater(0, step))
        for broken in (False, True):
            source = BytesIO(b"x" * 100_000)
            body = FileBodyProducer(source, cooperator)
            sent = self.agent.send(POST, body)
            if broken:
                self.wire.break_off()
                self.failureResultOf(sent, CoreBrokenError)
            else:
                self.wire.answer(OK)
                self.successResultOf(sent)
            self.assertTrue(source.closed)


class ChunkTests(SynchronousTestCase):
    """A body of unknown length, however it is cut."""

    @given(st.lists(st.binary(max_size=300), max_size=6))
    def test_chunks_carry_the_body(self, pieces: list[bytes]) -> None:
        """What is written decodes to what was produced."""
        transport = StringTransport()
        ends: list[object] = []
        body = Body()
        BodySender(transport, body, ends.append).start()
        for piece in pieces:
            body.write(piece)
        body.done.callback(None)
        self.assertEqual(ends, [None])
        self.assertEqual(_decoded(transport.value()), b"".join(pieces))


def _decoded(wire: bytes) -> bytes:
    body = b""
    while True:
        size, _, wire = wire.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            assert wire == b"\r\n"
            return body
        body += wire[:length]
        assert wire[length : length + 2] == b"\r\n"
        wire = wire[length + 2 :]
