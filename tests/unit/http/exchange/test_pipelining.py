"""The server side: what follows a streamed request on its connection."""

from twisted.internet.interfaces import ISSLTransport
from zope.interface import alsoProvides

from clusterapp.http.connection_limits import DISCARD_LIMIT
from clusterapp.http.exchange.exchange import Exchange
from clusterapp.http.syntax.message_head import ResponseHead
from tests.unit.http.clients import OK, Sink, SiteTestCase


class OrderTests(SiteTestCase):
    """What follows a request on its connection."""

    def answer(self, exchange: Exchange) -> None:
        exchange.respond(OK)
        exchange.write(b"hi")
        exchange.finish()

    def test_pipelined_requests_wait_for_their_turn(self) -> None:
        """The second is offered when the first is answered and its body is read."""
        client, exchange = self.ask(
            b"PUT /core HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
            b"GET /own HTTP/1.1\r\nHost: h\r\n\r\n"
        )
        exchange.body.startProducing(Sink())
        self.assertEqual(client.received, b"")
        self.answer(exchange)
        self.assertIn(b"\r\n\r\nhiHTTP/1.1 200 OK", client.received)
        self.assertTrue(client.received.endswith(b"hello"))

    def test_early_answer_reads_the_rest_away(self) -> None:
        """Bytes of the body are never taken for the next request."""
        client, exchange = self.ask(
            b"PUT /core HTTP/1.1\r\nHost: h\r\nContent-Length: 49\r\n\r\nabc"
        )
        self.answer(exchange)
        self.assertTrue(client.reading)
        client.send(
            b"GET /core/smuggled HTTP/1.1\r\nHost: h\r\n\r\n------", b"GET /core/next"
        )
        self.assertEqual(len(self.taken), 1)
        client.send(b" HTTP/1.1\r\nHost: h\r\n\r\n")
        self.assertEqual(self.taken[1].target, b"/core/next")

    def test_answer_within_the_offer(self) -> None:
        """A forwarder may answer at once, with and without a body to come."""
        for body in (b"", b"abc"):
            self.site._forward = lambda _target: self.answer
            client = self.client()
            client.send(
                b"PUT /core HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%b"
                b"GET /core HTTP/1.1\r\nHost: h\r\n\r\n" % (len(body), body)
            )
            self.assertEqual(client.received.count(b"HTTP/1.1 200 OK"), 2)
            self.assertEqual(client.transport.ended, "")

    def test_last_answer_within_the_offer(self) -> None:
        """Where no body is to come, there is nothing to linger for."""
        self.site._forward = lambda _target: self.answer
        client = self.client()
        client.send(b"GET /core HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        self.assertEqual(client.transport.ended, "closed")

    def test_abort_within_the_offer(self) -> None:
        """A forwarder may break off at once; nothing more is read."""

        def take(exchange: Exchange) -> None:
            self.taken.append(exchange)
            exchange.abort()

        self.site._forward = lambda _target: take
        client = self.client()
        client.send(
            b"GET /core HTTP/1.1\r\nHost: h\r\n\r\n"
            b"GET /core HTTP/1.1\r\nHost: h\r\n\r\n"
        )
        self.assertEqual(client.transport.ended, "reset")
        self.assertEqual(len(self.taken), 1)

    def test_long_rest_closes_the_connection(self) -> None:
        """A length above the bound is not even begun with."""
        client, exchange = self.ask(
            b"PUT /core HTTP/1.1\r\nHost: h\r\nContent-Length: 9999999\r\n\r\nabc"
        )
        self.answer(exchange)
        self.assertEqual(client.transport.ended, "half")
        client.send(b"GET /core HTTP/1.1\r\nHost: h\r\n\r\n")
        self.assertEqual(len(self.taken), 1)
        self.clock.advance(11)
        self.assertEqual(client.transport.ended, "closed")

    def test_long_rest_over_tls(self) -> None:
        """TLS has no half-closed connections: it is closed as a whole."""
        client, exchange = self.ask(
            b"PUT /core HTTP/1.1\r\nHost: h\r\nContent-Length: 9999999\r\n\r\nabc"
        )
        alsoProvides(client.transport, ISSLTransport)
        self.answer(exchange)
        self.assertEqual(client.transport.ended, "closed")

    def test_endless_rest_closes_the_connection(self) -> None:
        """Chunks without end are read up to the bound."""
        client, exchange = self.ask(
            b"PUT /core HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        self.answer(exchange)
        half = b"%x\r\n%b\r\n" % (DISCARD_LIMIT // 2, b"x" * (DISCARD_LIMIT // 2))
        client.send(half, half)
        self.assertEqual(client.transport.ended, "")
        client.send(b"1\r\nx\r\n")
        self.assertEqual(client.transport.ended, "half")

    def test_slow_rest_closes_the_connection(self) -> None:
        """A rest that trickles is read for a bounded time."""
        client, exchange = self.ask(
            b"PUT /core HTTP/1.1\r\nHost: h\r\nContent-Length: 99\r\n\r\n"
        )
        self.answer(exchange)
        for _ in range(3):
            client.send(b"x")
            self.clock.advance(10)
        self.assertEqual(client.transport.ended, "half")

    def test_withheld_body_closes_the_connection(self) -> None:
        """After a refusal without 100, body or next request: it cannot be told."""
        client, exchange = self.ask(
            b"PUT /core HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n"
            b"Expect: 100-continue\r\n\r\n"
        )
        self.answer(exchange)
        self.assertIn(b"\r\nConnection: close\r\n", client.received)
        client.send(b"GET /core/x HTTP/1.1\r\nHost: h\r\n\r\n")
        self.assertEqual(len(self.taken), 1)

    def test_promised_body_keeps_the_connection(self) -> None:
        """After a 100 the body will come, and can be told from what follows."""
        client, exchange = self.ask(
            b"PUT /core HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n"
            b"Expect: 100-continue\r\n\r\n"
        )
        exchange.interim(ResponseHead(100, b"Continue"))
        self.answer(exchange)
        self.assertNotIn(b"close", client.received)
        client.send(b"abcGET /core/x HTTP/1.1\r\nHost: h\r\n\r\n")
        self.assertEqual(self.taken[1].target, b"/core/x")

    def test_hints_promise_no_body(self) -> None:
        """Another interim response says nothing about the body."""
        client, exchange = self.ask(
            b"PUT /core HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n"
            b"Expect: 100-continue\r\n\r\n"
        )
        exchange.interim(ResponseHead(103, b"Early Hints"))
        self.answer(exchange)
        self.assertIn(b"\r\nConnection: close\r\n", client.received)

    def test_kept_connection_times_out(self) -> None:
        """Between requests a client may be silent for a bounded time only."""
        client, exchange = self.ask(
            b"PUT /core HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n"
        )
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
