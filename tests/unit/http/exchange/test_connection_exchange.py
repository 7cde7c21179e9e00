"""The server side: requests that are streamed away, in memory."""

from twisted.internet.error import ConnectionLost
from twisted.web.iweb import UNKNOWN_LENGTH

from clusterapp.http.exchange.exchange import Exchange
from clusterapp.http.syntax.message_head import ResponseHead
from tests.unit.http.clients import CHUNKED, OK, Sink, SiteTestCase
from tests.unit.http.websockets import HANDSHAKE


class OfferTests(SiteTestCase):
    """Which requests are streamed, and what is known of them."""

    def test_head_is_as_the_client_wrote_it(self) -> None:
        """Method, target and fields keep their bytes, order and repeats."""
        _, exchange = self.ask(
            b"PUT /core/a%2Fb//c;d/%zz? HTTP/1.1\r\nx-B: 2\r\nHOST: h\r\nX-a:1 \r\n"
            b"x-b:  3\r\n\r\n"
        )
        self.assertEqual(exchange.method, b"PUT")
        self.assertEqual(exchange.target, b"/core/a%2Fb//c;d/%zz?")
        self.assertEqual(exchange.version, b"HTTP/1.1")
        self.assertEqual(
            exchange.fields,
            [(b"x-B", b"2"), (b"HOST", b"h"), (b"X-a", b"1"), (b"x-b", b"3")],
        )
        self.assertEqual(exchange.length, 0)
        self.assertFalse(exchange.origin.secure)

    def test_fields_of_one_request_do_not_reach_the_next(self) -> None:
        """Each request on a connection has its own fields."""
        client, first = self.ask(b"GET /core HTTP/1.1\r\nHost: h\r\nCookie: a\r\n\r\n")
        first.respond(ResponseHead(204, b"No Content"))
        first.finish()
        client.send(b"GET /core HTTP/1.1\r\nHost: h\r\n\r\n")
        self.assertEqual(self.taken[1].fields, [(b"Host", b"h")])

    def test_others_are_served_by_the_site(self) -> None:
        """What the forwarder leaves is rendered, with its body."""
        client = self.client()
        client.send(
            b"POST /own HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n", b"abc"
        )
        self.assertTrue(client.received.endswith(b"\r\n\r\nhelloabc"))
        self.assertEqual(self.taken, [])

    def test_close_is_honoured_for_the_sites_own(self) -> None:
        """The site's own responses close, too, on whichever line it is asked."""
        client = self.client()
        client.send(
            b"GET /own HTTP/1.1\r\nHost: h\r\nConnection: x\r\n"
            b"Connection: close\r\n\r\n"
        )
        self.assertIn(b"\r\nConnection: close\r\n", client.received)
        self.assertEqual(client.transport.ended, "closed")

    def test_refused_head_is_not_offered(self) -> None:
        """After a 400 for one field, the rest of the head changes nothing."""
        client = self.client()
        client.send(
            b"GET /core HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\nA: b\r\n\r\n"
        )
        self.assertTrue(client.received.startswith(b"HTTP/1.1 400 "))
        # TLS delivers what it has even while it closes.
        client.channel.dataReceived(b"GET /core HTTP/1.1\r\nHost: h\r\n\r\n")
        self.assertEqual(self.taken, [])

    def test_lengths_that_disagree_are_refused(self) -> None:
        """What could be read in two ways never reaches the forwarder."""
        for framing in (
            b"Content-Length: 3\r\nTransfer-Encoding: chunked",
            b"Transfer-Encoding: chunked\r\nContent-Length: 3",
            b"Content-Length: 3\r\nContent-Length: 4",
            b"Transfer-Encoding: chunked, x",
        ):
            client = self.client()
            client.send(b"PUT /core HTTP/1.1\r\nHost: h\r\n" + framing + b"\r\n\r\n")
            self.assertTrue(client.received.startswith(b"HTTP/1.1 400 "), framing)
        self.assertEqual(self.taken, [])

    def test_continue_is_left_to_the_forwarder(self) -> None:
        """Only the site's own requests get a 100 by themselves."""
        expecting = (
            b" HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
        )
        client, exchange = self.ask(b"PUT /core" + expecting)
        self.assertEqual(client.received, b"")
        exchange.interim(ResponseHead(100, b"Continue"))
        self.assertEqual(client.received, b"HTTP/1.1 100 Continue\r\n\r\n")
        own = self.client()
        own.send(b"PUT /own" + expecting)
        self.assertEqual(own.received, b"HTTP/1.1 100 Continue\r\n\r\n")

    def test_websocket_is_recognized(self) -> None:
        """Only a handshake for the one protocol wants an upgrade."""
        ask = b"GET /core HTTP/1.1\r\nHost: h\r\n%b\r\n"
        named = HANDSHAKE.replace(b"websocket", b"WebSocket")
        self.assertTrue(self.ask(ask % named)[1].wants_upgrade)
        other = HANDSHAKE.replace(b"websocket", b"h2c")
        self.assertFalse(self.ask(ask % other)[1].wants_upgrade)


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
            b"PUT /core HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nabc"
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
        client, exchange = self.ask(
            b"PUT /core HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\n"
        )
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
        client, exchange = self.ask(
            b"PUT /core HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\n"
        )
        self.read(exchange)
        exchange.body.pauseProducing()
        exchange.body.resumeProducing()
        self.clock.advance(31)
        self.assertTrue(client.received.startswith(b"HTTP/1.1 408 "))
        self.assertEqual(client.transport.ended, "half")
        self.successResultOf(exchange.gone)
        self.failureResultOf(self.ended, ConnectionLost)

    def test_pieces_that_came_with_the_pause_wait(self) -> None:
        """What is read after the pause, as from TLS, is passed on later, in order."""
        client, exchange = self.ask(
            b"PUT /core HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        self.assertEqual(exchange.body.length, UNKNOWN_LENGTH)
        sink = self.read(exchange)
        exchange.body.watch(exchange.body.pauseProducing)
        client.send(b"1\r\na\r\n")
        client.channel.dataReceived(b"1\r\nb\r\n")
        client.channel.dataReceived(b"1\r\nc\r\n1\r\nd\r\n0\r\nX-Sum: 9 \r\n\r\n")
        self.assertEqual(sink.pieces, [b"a"])
        self.assertNoResult(self.ended)
        # Nothing is left to hold back, and reading tells if the client leaves.
        self.assertTrue(client.reading)
        exchange.body.watch(lambda: None)
        exchange.body.resumeProducing()
        # The chunks of one read are one piece.
        self.assertEqual(sink.pieces, [b"a", b"b", b"cd"])
        self.successResultOf(self.ended)
        self.assertEqual(exchange.body.trailers, [(b"X-Sum", b"9")])

    def test_slow_reader_does_not_stop_the_upload(self) -> None:
        """A client that reads nothing yet can still send: both are independent."""
        client, exchange = self.ask(
            b"PUT /core HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\n"
        )
        self.read(exchange)
        client.channel.pauseProducing()
        self.assertTrue(client.reading)
        client.channel.resumeProducing()

    def test_malformed_chunk_is_refused(self) -> None:
        """A body that cannot be read gets a 400, and its forwarder is told."""
        client, exchange = self.ask(
            b"PUT /core HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        client.send(b"zz\r\n\r\nGET /core/smuggled HTTP/1.1\r\nHost: h\r\n\r\n")
        self.assertTrue(client.received.startswith(b"HTTP/1.1 400 "))
        self.assertEqual(client.transport.ended, "half")
        self.successResultOf(exchange.gone)
        exchange.respond(OK)
        # TLS delivers what it has even while it closes.
        client.channel.dataReceived(b"GET /core/smuggled HTTP/1.1\r\nHost: h\r\n\r\n")
        self.assertEqual(client.received.count(b"HTTP/1.1"), 1)
        self.assertEqual(len(self.taken), 1)

    def test_malformed_chunk_breaks_a_response_off(self) -> None:
        """No 400 is written into a response that has begun."""
        client, exchange = self.ask(
            b"PUT /core HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        exchange.respond(CHUNKED)
        client.send(b"zz\r\n")
        self.assertNotIn(b"400", client.received)
        self.assertEqual(client.transport.ended, "half")
        self.successResultOf(exchange.gone)

    def test_trailer_cannot_smuggle_a_line(self) -> None:
        """A line feed inside of a trailer is refused."""
        client, exchange = self.ask(
            b"PUT /core HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        client.send(b"0\r\nX: 1\nContent-Length: 9\r\n\r\n")
        self.assertTrue(client.received.startswith(b"HTTP/1.1 400 "))
        self.successResultOf(exchange.gone)
