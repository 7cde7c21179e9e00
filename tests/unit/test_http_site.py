"""The server side: requests that are streamed away, in memory."""

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer, ISSLTransport
from twisted.web.iweb import UNKNOWN_LENGTH
from zope.interface import alsoProvides, implementer

from clusterapp.http.exchange import Exchange
from clusterapp.http.messages import ResponseHead
from clusterapp.http.streamed import DISCARD_LIMIT
from tests.unit.clients import CHUNKED, OK, Sink, SiteTestCase


class OfferTests(SiteTestCase):
    """Which requests are streamed, and what is known of them."""

    def test_head_is_as_the_client_wrote_it(self) -> None:
        """Method, target and fields keep their bytes, order and repeats."""
        _, exchange = self.ask(
            b"PuT /core/a%2Fb//c;d/%zz? HTTP/1.1\r\nx-B: 2\r\nHOST: h\r\nX-a:1 \r\n"
            b"x-b:  3\r\n\r\n"
        )
        self.assertEqual(exchange.method, b"PuT")
        self.assertEqual(exchange.target, b"/core/a%2Fb//c;d/%zz?")
        self.assertEqual(exchange.version, b"HTTP/1.1")
        self.assertEqual(
            exchange.fields,
            [(b"x-B", b"2"), (b"HOST", b"h"), (b"X-a", b"1"), (b"x-b", b"3")],
        )
        self.assertEqual(exchange.length, 0)
        self.assertFalse(exchange.secure)

    def test_fields_of_one_request_do_not_reach_the_next(self) -> None:
        """Each request on a connection has its own fields."""
        client, first = self.ask(b"GET /core HTTP/1.1\r\nCookie: a\r\n\r\n")
        first.respond(ResponseHead(204, b"No Content"))
        first.finish()
        client.send(b"GET /core HTTP/1.1\r\nHost: h\r\n\r\n")
        self.assertEqual(self.taken[1].fields, [(b"Host", b"h")])

    def test_others_are_served_by_the_site(self) -> None:
        """What the forwarder leaves is rendered, with its body."""
        client = self.client()
        client.send(b"POST /own HTTP/1.1\r\nContent-Length: 3\r\n\r\n", b"abc")
        self.assertTrue(client.received.endswith(b"\r\n\r\nhelloabc"))
        self.assertEqual(self.taken, [])

    def test_refused_head_is_not_offered(self) -> None:
        """After a 400 for one field, the rest of the head changes nothing."""
        client = self.client()
        client.send(b"GET /core HTTP/1.1\r\nContent-Length: x\r\nA: b\r\n")
        self.assertTrue(client.received.startswith(b"HTTP/1.1 400 "))
        # TLS delivers what it has even while it closes.
        client.channel.dataReceived(b"\r\n")
        self.assertEqual(self.taken, [])

    def test_lengths_that_disagree_are_refused(self) -> None:
        """What could be read in two ways never reaches the forwarder."""
        for framing in (
            b"Content-Length: 3\r\nTransfer-Encoding: chunked",
            b"Transfer-Encoding: chunked\r\nContent-Length: 3",
            b"Content-Length: 3\r\nContent-Length: 4",
            b"Transfer-Encoding: x, chunked",
        ):
            client = self.client()
            client.send(b"PUT /core HTTP/1.1\r\n" + framing + b"\r\n\r\n")
            self.assertTrue(client.received.startswith(b"HTTP/1.1 400 "), framing)
        self.assertEqual(self.taken, [])

    def test_continue_is_left_to_the_forwarder(self) -> None:
        """Only the site's own requests get a 100 by themselves."""
        expecting = b" HTTP/1.1\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
        client, exchange = self.ask(b"PUT /core" + expecting)
        self.assertEqual(client.received, b"")
        exchange.interim(ResponseHead(100, b"Continue"))
        self.assertEqual(client.received, b"HTTP/1.1 100 Continue\r\n\r\n")
        own = self.client()
        own.send(b"PUT /own" + expecting)
        self.assertEqual(own.received, b"HTTP/1.1 100 Continue\r\n\r\n")

    def test_websocket_is_recognized(self) -> None:
        """Only a GET-like request for the one protocol wants an upgrade."""
        ask = b"GET /core HTTP/1.1\r\nConnection: x, Upgrade\r\nUpgrade: %b\r\n\r\n"
        self.assertTrue(self.ask(ask % b"WebSocket")[1].wants_upgrade)
        self.assertFalse(self.ask(ask % b"h2c")[1].wants_upgrade)
        unsaid = b"GET /core HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"
        self.assertFalse(self.ask(unsaid)[1].wants_upgrade)


class BodyTests(SiteTestCase):
    """A request's body reaches its reader as fast as it is wanted."""

    def read(self, exchange: Exchange) -> Sink:
        sink = Sink()
        self.ended = exchange.body.startProducing(sink)
        # Clients leave at the end of a test, some in the middle of a body.
        self.addCleanup(self.ended.addErrback, lambda _: None)
        return sink

    def test_client_is_held_until_the_body_is_wanted(self) -> None:
        """One read is held; the socket is not read before somebody asks."""
        client, exchange = self.ask(
            b"PUT /core HTTP/1.1\r\nContent-Length: 6\r\n\r\nabc"
        )
        self.assertEqual(exchange.length, 6)
        self.assertEqual(exchange.body.length, 6)
        self.assertFalse(client.reading)
        sink = self.read(exchange)
        self.assertTrue(client.reading)
        self.assertEqual(sink.pieces, [b"abc"])
        self.assertNoResult(self.ended)
        client.send(b"def")
        self.assertEqual(sink.pieces, [b"abc", b"def"])
        self.successResultOf(self.ended)

    def test_pause_stops_the_reading(self) -> None:
        """A paused body takes nothing, and its client does not time out."""
        client, exchange = self.ask(b"PUT /core HTTP/1.1\r\nContent-Length: 6\r\n\r\n")
        sink = self.read(exchange)
        exchange.body.pauseProducing()
        self.assertFalse(client.reading)
        self.clock.advance(1000)
        self.assertEqual(client.transport.ended, "")
        exchange.body.resumeProducing()
        client.send(b"abcdef")
        self.assertEqual(sink.pieces, [b"abcdef"])

    def test_silent_client_times_out(self) -> None:
        """A client that stops in its body is not waited for without end."""
        client, exchange = self.ask(b"PUT /core HTTP/1.1\r\nContent-Length: 6\r\n\r\n")
        self.read(exchange)
        exchange.body.pauseProducing()
        exchange.body.resumeProducing()
        self.clock.advance(61)
        self.clock.advance(0)
        self.assertEqual(client.transport.ended, "closed")
        self.successResultOf(exchange.gone)
        self.failureResultOf(self.ended, ConnectionDone)

    def test_pieces_that_came_with_the_pause_wait(self) -> None:
        """What one read brought after the pause is passed on later, in order."""
        client, exchange = self.ask(
            b"PUT /core HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        self.assertEqual(exchange.body.length, UNKNOWN_LENGTH)
        sink = self.read(exchange)
        exchange.body.watch(exchange.body.pauseProducing)
        client.send(b"1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\nX-Sum: 9 \r\n\r\n")
        self.assertEqual(sink.pieces, [b"a"])
        self.assertNoResult(self.ended)
        # Nothing is left to hold back, and reading tells if the client leaves.
        self.assertTrue(client.reading)
        exchange.body.watch(lambda: None)
        exchange.body.resumeProducing()
        self.assertEqual(sink.pieces, [b"a", b"b", b"c"])
        self.successResultOf(self.ended)
        self.assertEqual(exchange.body.trailers, [(b"X-Sum", b"9")])

    def test_slow_reader_does_not_stop_the_upload(self) -> None:
        """A client that reads nothing yet can still send: both are independent."""
        client, exchange = self.ask(b"PUT /core HTTP/1.1\r\nContent-Length: 6\r\n\r\n")
        self.read(exchange)
        client.channel.pauseProducing()
        self.assertTrue(client.reading)
        client.channel.resumeProducing()

    def test_malformed_chunk_is_refused(self) -> None:
        """A body that cannot be read gets a 400, and its forwarder is told."""
        client, exchange = self.ask(
            b"PUT /core HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        client.send(b"zz\r\n\r\nGET /core/smuggled HTTP/1.1\r\n\r\n")
        self.assertTrue(client.received.startswith(b"HTTP/1.1 400 "))
        self.assertEqual(client.transport.ended, "closed")
        self.successResultOf(exchange.gone)
        exchange.respond(OK)
        # TLS delivers what it has even while it closes.
        client.channel.dataReceived(b"GET /core/smuggled HTTP/1.1\r\n\r\n")
        self.assertEqual(client.received.count(b"HTTP/1.1"), 1)
        self.assertEqual(len(self.taken), 1)

    def test_malformed_chunk_breaks_a_response_off(self) -> None:
        """No 400 is written into a response that has begun."""
        client, exchange = self.ask(
            b"PUT /core HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        exchange.respond(CHUNKED)
        client.send(b"zz\r\n")
        self.assertNotIn(b"400", client.received)
        self.assertEqual(client.transport.ended, "half")
        self.successResultOf(exchange.gone)

    def test_trailer_cannot_smuggle_a_line(self) -> None:
        """A line feed inside of a trailer is refused."""
        client, exchange = self.ask(
            b"PUT /core HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        client.send(b"0\r\nX: 1\nContent-Length: 9\r\n\r\n")
        self.assertTrue(client.received.startswith(b"HTTP/1.1 400 "))
        self.successResultOf(exchange.gone)


class ResponseTests(SiteTestCase):
    """How a response is written."""

    def test_fields_are_written_as_they_are(self) -> None:
        """Order, spelling, repeats and reason are kept; the length as well."""
        client, exchange = self.ask(b"GET /core HTTP/1.1\r\n\r\n")
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
        client, exchange = self.ask(b"GET /core HTTP/1.1\r\n\r\n")
        exchange.respond(CHUNKED)
        exchange.write(b"")
        exchange.write(b"0123456789abcdef!")
        exchange.finish([(b"X-Sum", b"9")])
        self.assertEqual(
            client.received,
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"11\r\n0123456789abcdef!\r\n0\r\nX-Sum: 9\r\n\r\n",
        )

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
            b"GET /core HTTP/1.1\r\nConnection: x\r\nConnection: y,close\r\n\r\n"
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
            client, exchange = self.ask(method + b" /core HTTP/1.1\r\n\r\n")
            exchange.respond(ResponseHead(status, b"So", sized))
            exchange.write(b"1234567")
            exchange.finish()
            self.assertEqual(
                client.received, b"HTTP/1.1 %d So\r\n%b\r\n" % (status, fields)
            )
            self.assertEqual(client.transport.ended, "")

    def test_unwritable_heads_are_refused(self) -> None:
        """A line break in a field, or two lengths, write nothing at all."""
        client, exchange = self.ask(b"GET /core HTTP/1.1\r\n\r\n")
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
        client, exchange = self.ask(b"GET /core HTTP/1.1\r\n\r\n")
        exchange.respond(OK)
        exchange.write(b"h")
        exchange.finish()
        self.assertEqual(client.transport.ended, "half")
        client.channel.dataReceived(b"GET /core HTTP/1.1\r\n\r\n")
        self.assertEqual(len(self.taken), 1)

    def test_long_body_is_refused(self) -> None:
        """A body above its length would be read as the next response."""
        client, exchange = self.ask(b"GET /core HTTP/1.1\r\n\r\n")
        exchange.respond(OK)
        with self.assertRaises(ValueError):
            exchange.write(b"hi!")
        self.assertTrue(client.received.endswith(b"\r\n\r\n"))

    def test_abort_leaves_a_chunked_body_without_its_end(self) -> None:
        """What was sent can be read, and is visibly incomplete."""
        client, exchange = self.ask(b"GET /core HTTP/1.1\r\n\r\n")
        exchange.respond(CHUNKED)
        exchange.write(b"abc")
        exchange.abort()
        self.assertTrue(client.received.endswith(b"\r\n3\r\nabc\r\n"))
        self.assertEqual(client.transport.ended, "half")
        self.assertNoResult(exchange.gone)
        self.clock.advance(11)
        self.assertEqual(client.transport.ended, "reset")

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
        client, exchange = self.ask(b"GET /core HTTP/1.1\r\n\r\n")
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
        client, exchange = self.ask(b"GET /core HTTP/1.1\r\n\r\n")
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
        client, exchange = self.ask(b"GET /core HTTP/1.1\r\n\r\n")
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


class OrderTests(SiteTestCase):
    """What follows a request on its connection."""

    def answer(self, exchange: Exchange) -> None:
        exchange.respond(OK)
        exchange.write(b"hi")
        exchange.finish()

    def test_pipelined_requests_wait_for_their_turn(self) -> None:
        """The second is offered when the first is answered and its body is read."""
        client, exchange = self.ask(
            b"PUT /core HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"
            b"GET /own HTTP/1.1\r\n\r\n"
        )
        exchange.body.startProducing(Sink())
        self.assertEqual(client.received, b"")
        self.answer(exchange)
        self.assertIn(b"\r\n\r\nhiHTTP/1.1 200 OK", client.received)
        self.assertTrue(client.received.endswith(b"hello"))

    def test_early_answer_reads_the_rest_away(self) -> None:
        """Bytes of the body are never taken for the next request."""
        client, exchange = self.ask(
            b"PUT /core HTTP/1.1\r\nContent-Length: 40\r\n\r\nabc"
        )
        self.answer(exchange)
        self.assertTrue(client.reading)
        client.send(b"GET /core/smuggled HTTP/1.1\r\n\r\n------", b"GET /core/next")
        self.assertEqual(len(self.taken), 1)
        client.send(b" HTTP/1.1\r\n\r\n")
        self.assertEqual(self.taken[1].target, b"/core/next")

    def test_answer_within_the_offer(self) -> None:
        """A forwarder may answer at once, with and without a body to come."""
        for body in (b"", b"abc"):
            self.site._forward = self.take_and_answer
            client = self.client()
            client.send(
                b"PUT /core HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b"
                b"GET /core HTTP/1.1\r\n\r\n" % (len(body), body)
            )
            self.assertEqual(client.received.count(b"HTTP/1.1 200 OK"), 2)
            self.assertEqual(client.transport.ended, "")

    def test_last_answer_within_the_offer(self) -> None:
        """Where no body is to come, there is nothing to linger for."""
        self.site._forward = self.take_and_answer
        client = self.client()
        client.send(b"GET /core HTTP/1.1\r\nConnection: close\r\n\r\n")
        self.assertEqual(client.transport.ended, "closed")

    def test_abort_within_the_offer(self) -> None:
        """A forwarder may break off at once; nothing more is read."""

        def forward(exchange: Exchange) -> bool:
            self.take(exchange)
            exchange.abort()
            return True

        self.site._forward = forward
        client = self.client()
        client.send(b"GET /core HTTP/1.1\r\n\r\nGET /core HTTP/1.1\r\n\r\n")
        self.assertEqual(client.transport.ended, "reset")
        self.assertEqual(len(self.taken), 1)

    def take_and_answer(self, exchange: Exchange) -> bool:
        self.answer(exchange)
        return True

    def test_long_rest_closes_the_connection(self) -> None:
        """A length above the bound is not even begun with."""
        client, exchange = self.ask(
            b"PUT /core HTTP/1.1\r\nContent-Length: 9999999\r\n\r\nabc"
        )
        self.answer(exchange)
        self.assertEqual(client.transport.ended, "half")
        client.send(b"GET /core HTTP/1.1\r\n\r\n")
        self.assertEqual(len(self.taken), 1)
        self.clock.advance(11)
        self.assertEqual(client.transport.ended, "reset")

    def test_long_rest_over_tls(self) -> None:
        """TLS has no half-closed connections: it is closed as a whole."""
        client, exchange = self.ask(
            b"PUT /core HTTP/1.1\r\nContent-Length: 9999999\r\n\r\nabc"
        )
        alsoProvides(client.transport, ISSLTransport)
        self.answer(exchange)
        self.assertEqual(client.transport.ended, "closed")

    def test_endless_rest_closes_the_connection(self) -> None:
        """Chunks without end are read up to the bound."""
        client, exchange = self.ask(
            b"PUT /core HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        self.answer(exchange)
        half = b"%x\r\n%b\r\n" % (DISCARD_LIMIT // 2, b"x" * (DISCARD_LIMIT // 2))
        client.send(half, half)
        self.assertEqual(client.transport.ended, "")
        client.send(b"1\r\nx\r\n")
        self.assertEqual(client.transport.ended, "half")

    def test_slow_rest_closes_the_connection(self) -> None:
        """A rest that trickles is read for a bounded time."""
        client, exchange = self.ask(b"PUT /core HTTP/1.1\r\nContent-Length: 99\r\n\r\n")
        self.answer(exchange)
        for _ in range(3):
            client.send(b"x")
            self.clock.advance(10)
        self.assertEqual(client.transport.ended, "half")

    def test_withheld_body_closes_the_connection(self) -> None:
        """After a refusal without 100, body or next request: it cannot be told."""
        client, exchange = self.ask(
            b"PUT /core HTTP/1.1\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
        )
        self.answer(exchange)
        self.assertIn(b"\r\nConnection: close\r\n", client.received)
        client.send(b"GET /core/x HTTP/1.1\r\n\r\n")
        self.assertEqual(len(self.taken), 1)

    def test_promised_body_keeps_the_connection(self) -> None:
        """After a 100 the body will come, and can be told from what follows."""
        client, exchange = self.ask(
            b"PUT /core HTTP/1.1\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
        )
        exchange.interim(ResponseHead(100, b"Continue"))
        self.answer(exchange)
        self.assertNotIn(b"close", client.received)
        client.send(b"abcGET /core/x HTTP/1.1\r\n\r\n")
        self.assertEqual(self.taken[1].target, b"/core/x")

    def test_hints_promise_no_body(self) -> None:
        """Another interim response says nothing about the body."""
        client, exchange = self.ask(
            b"PUT /core HTTP/1.1\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
        )
        exchange.interim(ResponseHead(103, b"Early Hints"))
        self.answer(exchange)
        self.assertIn(b"\r\nConnection: close\r\n", client.received)

    def test_kept_connection_times_out(self) -> None:
        """Between requests a client may be silent for a bounded time only."""
        client, exchange = self.ask(b"PUT /core HTTP/1.1\r\nContent-Length: 3\r\n\r\n")
        exchange.body.startProducing(Sink())
        exchange.body.pauseProducing()
        exchange.body.resumeProducing()
        client.send(b"abc")
        self.clock.advance(1000)
        self.assertEqual(client.transport.ended, "")
        self.answer(exchange)
        self.clock.advance(59)
        self.assertEqual(client.transport.ended, "")
        self.clock.advance(1)
        self.assertEqual(client.transport.ended, "closed")
