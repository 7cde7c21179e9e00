"""The server side: how a streamed response is written, in memory."""

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from clusterapp.http.syntax.message_head import ResponseHead
from tests.unit.http.clients import CHUNKED, OK, SiteTestCase


class ResponseTests(SiteTestCase):
    """How a response is written."""

    def test_fields_are_written_as_they_are(self) -> None:
        """Order, spelling, repeats and reason are kept; the length as well."""
        client, exchange = self.ask(b"GET /core HTTP/1.1\r\nHost: h\r\n\r\n")
        head = ResponseHead(
            299,
            b"Just So",
            [(b"b", b"1"), (b"SET-cookie", b"x"), (b"a", b"2"), (b"SET-cookie", b"y")],
        )
        exchange.respond(
            ResponseHead(299, head.reason, [*head.fields, (b"Content-Length", b"2")])
        )
        exchange.write(b"hi")
        exchange.finish()
        self.assertEqual(
            client.received,
            b"HTTP/1.1 299 Just So\r\nb: 1\r\nSET-cookie: x\r\na: 2\r\n"
            b"SET-cookie: y\r\nContent-Length: 2\r\n\r\nhi",
        )

    def test_unknown_length_is_chunked(self) -> None:
        """Without a length the body is chunked, and may have trailers."""
        client, exchange = self.ask(b"GET /core HTTP/1.1\r\nHost: h\r\n\r\n")
        exchange.respond(CHUNKED)
        exchange.write(b"")
        exchange.write(b"0123456789abcdef!")
        exchange.finish([(b"X-Sum", b"9")])
        self.assertEqual(
            client.received,
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"11\r\n0123456789abcdef!\r\n0\r\nX-Sum: 9\r\n\r\n",
        )

    def test_head_and_body_go_out_together(self) -> None:
        """What there is of the body is written with the head, and counted."""
        client, exchange = self.ask(b"GET /core HTTP/1.1\r\nHost: h\r\n\r\n")
        written: list[bytes] = []
        client.connection.write = written.append
        self.assertRaises(ValueError, exchange.respond, OK, b"too long")
        exchange.respond(OK, b"h")
        self.assertEqual(written, [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh"])
        self.assertRaises(ValueError, exchange.write, b"ii")
        exchange.write(b"i")
        exchange.finish()
        self.assertEqual(client.transport.ended, "")

    def test_old_clients_are_told_that_the_connection_stays(self) -> None:
        """HTTP/1.0 takes it for closed otherwise; without its wish, it is closed."""
        for asked, version, told in (
            (b"keep-alive", b"1.0", b"Connection: keep-alive\r\n"),
            (b"Keep-Alive, x", b"1.0", b"Connection: keep-alive\r\n"),
            (b"close", b"1.0", b"Connection: close\r\n"),
            (b"x", b"1.0", b"Connection: close\r\n"),
            (b"keep-alive", b"1.1", b""),
        ):
            client, exchange = self.ask(
                b"GET /core HTTP/%b\r\nHost: h\r\nConnection: %b\r\n\r\n"
                % (version, asked)
            )
            exchange.respond(OK, b"hi")
            exchange.finish()
            self.assertEqual(
                client.received,
                b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n%b\r\nhi" % told,
            )
            kept = b"close" not in told
            self.assertEqual(client.transport.ended, "" if kept else "closed")
        # Of unknown length: the end of the connection is that of the body.
        client, exchange = self.ask(
            b"GET /core HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
        )
        exchange.respond(CHUNKED, b"hi")
        self.assertIn(b"\r\nConnection: close\r\n", client.received)
        exchange.finish()
        self.assertEqual(client.transport.ended, "closed")

    def test_old_clients_get_the_end_of_the_connection(self) -> None:
        """HTTP/1.0 knows no chunks and no interim responses."""
        client, exchange = self.ask(b"GET /core HTTP/1.0\r\n\r\n")
        exchange.interim(ResponseHead(103, b"Early Hints"))
        exchange.respond(CHUNKED)
        exchange.write(b"abc")
        exchange.finish()
        self.assertEqual(
            client.received, b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc"
        )
        self.assertEqual(client.transport.ended, "closed")

    def test_close_is_honoured_on_any_line(self) -> None:
        """Whichever `Connection` line says close, the response says it too."""
        client, exchange = self.ask(
            b"GET /core HTTP/1.1\r\nHost: h\r\nConnection: x\r\n"
            b"Connection: y,close\r\n\r\n"
        )
        exchange.respond(OK)
        exchange.write(b"hi")
        exchange.finish()
        self.assertIn(b"\r\nConnection: close\r\n", client.received)
        self.assertEqual(client.transport.ended, "closed")

    def test_some_responses_have_no_body(self) -> None:
        """HEAD, 204 and 304 end with their head; a 204 has no length either."""
        sized = [(b"Content-Length", b"7")]
        for method, status, fields in (
            (b"HEAD", 200, b"Content-Length: 7\r\n"),
            (b"GET", 304, b"Content-Length: 7\r\n"),
            (b"GET", 204, b""),
        ):
            client, exchange = self.ask(method + b" /core HTTP/1.1\r\nHost: h\r\n\r\n")
            exchange.respond(ResponseHead(status, b"So", sized))
            exchange.write(b"1234567")
            exchange.finish()
            self.assertEqual(
                client.received, b"HTTP/1.1 %d So\r\n%b\r\n" % (status, fields)
            )
            self.assertEqual(client.transport.ended, "")

    def test_unwritable_heads_are_refused(self) -> None:
        """A line break in a field, or two lengths, write nothing at all."""
        client, exchange = self.ask(b"GET /core HTTP/1.1\r\nHost: h\r\n\r\n")
        for fields in (
            [(b"X", b"1\r\nY: 2")],
            [(b"X\n", b"1")],
            [(b"Content-Length", b"1"), (b"content-length", b"2")],
            [(b"Content-Length", b"-1")],
        ):
            with self.assertRaises(ValueError):
                exchange.respond(ResponseHead(200, b"OK", fields))
        with self.assertRaises(ValueError):
            exchange.interim(ResponseHead(103, b"Early\r\n", []))
        self.assertEqual(client.received, b"")

    def test_short_body_is_broken_off(self) -> None:
        """A body below its length must not look like a whole one."""
        client, exchange = self.ask(b"GET /core HTTP/1.1\r\nHost: h\r\n\r\n")
        exchange.respond(OK)
        exchange.write(b"h")
        exchange.finish()
        self.assertEqual(client.transport.ended, "half")
        client.channel.dataReceived(b"GET /core HTTP/1.1\r\nHost: h\r\n\r\n")
        self.assertEqual(len(self.taken), 1)

    def test_long_body_is_refused(self) -> None:
        """A body above its length would be read as the next response."""
        client, exchange = self.ask(b"GET /core HTTP/1.1\r\nHost: h\r\n\r\n")
        exchange.respond(OK)
        with self.assertRaises(ValueError):
            exchange.write(b"hi!")
        self.assertTrue(client.received.endswith(b"\r\n\r\n"))

    def test_abort_leaves_a_chunked_body_without_its_end(self) -> None:
        """What was sent can be read, and is visibly incomplete."""
        client, exchange = self.ask(b"GET /core HTTP/1.1\r\nHost: h\r\n\r\n")
        exchange.respond(CHUNKED)
        exchange.write(b"abc")
        exchange.abort()
        self.assertTrue(client.received.endswith(b"\r\n3\r\nabc\r\n"))
        self.assertEqual(client.transport.ended, "half")
        self.assertNoResult(exchange.gone)
        self.clock.advance(11)
        self.assertEqual(client.transport.ended, "closed")

    def test_abort_resets_what_the_close_would_end(self) -> None:
        """A body that the close ends is cut by a reset; so is no response."""
        for begin in (True, False):
            client, exchange = self.ask(b"GET /core HTTP/1.0\r\n\r\n")
            if begin:
                exchange.respond(CHUNKED)
            exchange.abort()
            self.assertEqual(client.transport.ended, "reset")

    def test_producer_follows_the_client(self) -> None:
        """The response's producer is paused while the client does not read."""
        client, exchange = self.ask(b"GET /core HTTP/1.1\r\nHost: h\r\n\r\n")
        did: list[str] = []
        exchange.register(Recorder(did))
        client.channel.pauseProducing()
        client.channel.resumeProducing()
        exchange.unregister()
        client.channel.pauseProducing()
        exchange.register(Recorder(did))
        self.assertEqual(did, ["pause", "resume", "pause"])

    def test_client_that_leaves_is_noticed(self) -> None:
        """`gone` fires once; what is written afterwards is dropped."""
        client, exchange = self.ask(b"GET /core HTTP/1.1\r\nHost: h\r\n\r\n")
        exchange.respond(CHUNKED)
        before = client.received
        client.goes()
        self.successResultOf(exchange.gone)
        exchange.write(b"abc")
        exchange.unregister()
        exchange.finish()
        exchange.abort()
        self.assertEqual(client.received, before)

    def test_end_of_the_connection_after_the_response_is_no_loss(self) -> None:
        """`gone` does not fire once the response has ended."""
        client, exchange = self.ask(b"GET /core HTTP/1.1\r\nHost: h\r\n\r\n")
        exchange.respond(OK)
        exchange.write(b"hi")
        exchange.finish()
        client.goes()
        self.assertNoResult(exchange.gone)


@implementer(IPushProducer)
class Recorder:
    """A producer that writes down what it is told."""

    def __init__(self, did: list[str]) -> None:
        self._did = did

    def pauseProducing(self) -> None:
        self._did.append("pause")

    def resumeProducing(self) -> None:
        self._did.append("resume")

    def stopProducing(self) -> None:
        self._did.append("stop")
