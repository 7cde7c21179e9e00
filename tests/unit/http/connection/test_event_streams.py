"""Responses of a site's own that would not end by themselves, when it drains."""

import gzip
from typing import Any

from klein import Klein
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import deferLater
from twisted.web.resource import EncodingResourceWrapper
from twisted.web.server import GzipEncoderFactory
from zope.interface import implementer

from clusterapp.http.klein.klein_resource import klein_resource
from clusterapp.http.site import ClusterSite
from tests.unit.http.clients import Client, SiteTestCase, Slow

GET = b"GET /own HTTP/1.1\r\nHost: h\r\n\r\n"
CLOSE = b"\r\nConnection: close\r\n"


class EventStreamTests(SiteTestCase):
    """Streams of twisted.web's resources."""

    def stream(self, kind: bytes | None) -> tuple[ClusterSite, Client, Any, list[Any]]:
        slow = Slow()
        site = ClusterSite(self.clock, slow)
        client = Client(site, self.clock)
        client.send(GET)
        [request] = slow.requests
        ends: list[Any] = []
        request.notifyFinish().addBoth(ends.append)
        if kind is not None:
            request.setHeader(b"content-type", kind)
        request.write(b"data: 1\n\n")
        return site, client, request, ends

    def test_end(self) -> None:
        """It is whole for the client; the application hears that nobody listens."""
        site, client, request, ends = self.stream(b"text/event-stream; charset=utf-8")
        drained = site.drain()
        self.assertTrue(client.received.endswith(b"data: 1\n\n\r\n0\r\n\r\n"))
        self.assertEqual(len(ends), 1)
        request.write(b"data: 2\n\n")
        self.assertTrue(client.received.endswith(b"\r\n0\r\n\r\n"))
        self.clock.pump([1.0] * 12)
        self.successResultOf(drained)

    def test_spread(self) -> None:
        site, client, _, ends = self.stream(b"text/event-stream")
        drained = site.drain(spread=4.0)
        self.assertEqual(ends, [])
        self.clock.pump([1.0] * 6)
        self.assertTrue(client.received.endswith(b"\r\n0\r\n\r\n"))
        self.assertEqual(len(ends), 1)
        self.clock.pump([1.0] * 12)
        self.successResultOf(drained)

    def test_those_that_begin_later(self) -> None:
        """They end as well, within the time or a second after they have begun."""
        slow = Slow()
        site = ClusterSite(self.clock, slow)
        under_way, kept = Client(site, self.clock), Client(site, self.clock)
        under_way.send(GET)
        kept.send(GET)
        slow.requests.pop().finish()
        drained = site.drain(spread=2.0)
        kept.send(GET)  # on a connection that stays for its next request
        for request in slow.requests:
            request.setHeader(b"content-type", b"text/event-stream")
            request.write(b"data: 1\n\n")
        self.clock.pump([1.0] * 6)
        for client in (under_way, kept):
            self.assertIn(CLOSE, client.received)
            self.assertTrue(client.received.endswith(b"data: 1\n\n\r\n0\r\n\r\n"))
        self.clock.pump([1.0] * 12)
        self.successResultOf(drained)

    def test_others_are_let_end(self) -> None:
        """A long download is not cut in the middle."""
        for kind in (b"text/plain", None):
            site, client, request, ends = self.stream(kind)
            drained = site.drain(spread=2.0)
            self.clock.pump([1.0] * 10)
            self.assertEqual(ends, [])
            request.write(b"more")
            request.finish()
            self.assertTrue(client.received.endswith(b"more\r\n0\r\n\r\n"))
            self.clock.pump([1.0] * 4)
            self.successResultOf(drained)

    def test_compressed(self) -> None:
        """What the encoder holds back is part of it: it unpacks to the end."""
        slow = Slow()
        resource = EncodingResourceWrapper(slow, [GzipEncoderFactory()])
        site = ClusterSite(self.clock, resource)
        client = Client(site, self.clock)
        client.send(GET.replace(b"Host", b"Accept-Encoding: gzip\r\nHost"))
        [request] = slow.requests
        request.setHeader(b"content-type", b"text/event-stream")
        request.write(b"data: 1\n\n")
        site.drain()
        body = unchunked(client.received.partition(b"\r\n\r\n")[2])
        self.assertEqual(gzip.decompress(body), b"data: 1\n\n")
        client.goes()

    def test_old_client(self) -> None:
        """For HTTP/1.0 it ends with the connection."""
        slow = Slow()
        site = ClusterSite(self.clock, slow)
        client = Client(site, self.clock)
        client.send(b"GET /own HTTP/1.0\r\n\r\n")
        [request] = slow.requests
        request.setHeader(b"content-type", b"text/event-stream")
        request.write(b"data: 1\n\n")
        site.drain()
        self.assertTrue(client.received.endswith(b"\r\n\r\ndata: 1\n\n"))
        self.assertEqual(client.transport.ended, "half")
        client.goes()

    def test_known_length(self) -> None:
        """One that ends by itself is let do so."""
        slow = Slow()
        site = ClusterSite(self.clock, slow)
        client = Client(site, self.clock)
        client.send(GET)
        [request] = slow.requests
        request.setHeader(b"content-type", b"text/event-stream")
        request.setHeader(b"content-length", b"4")
        request.write(b"a\n")
        drained = site.drain()
        request.write(b"b\n")
        request.finish()
        self.assertTrue(client.received.endswith(b"\r\n\r\na\nb\n"))
        self.clock.advance(0)
        self.successResultOf(drained)


@implementer(IPushProducer)
class Producer:
    """Writes events when it is told to."""

    def __init__(self, request: Any) -> None:
        self._request = request
        request.setHeader(b"content-type", b"text/event-stream")
        request.registerProducer(self, True)

    def event(self) -> None:
        """Write one."""
        self._request.write(b"data: 1\n\n")

    def pauseProducing(self) -> None:
        """Do nothing."""

    def resumeProducing(self) -> None:
        """Do nothing."""

    def stopProducing(self) -> None:
        """Do nothing."""


class KleinTests(SiteTestCase):
    """Streams of Klein's handlers, which hear of their ends."""

    def setUp(self) -> None:
        super().setUp()
        self.app = Klein()
        self.ends: list[str] = []
        self.producers: list[Producer] = []

        @self.app.route("/loop")
        async def loop(request: Any) -> None:
            request.setHeader(b"content-type", b"text/event-stream")
            try:
                while True:
                    request.write(b"data: 1\n\n")
                    await deferLater(self.clock, 1.0)
            except CancelledError:
                self.ends.append("cancelled")
                raise

        @self.app.route("/producer")
        def producer(request: Any) -> Deferred[None]:
            self.producers.append(Producer(request))
            self.producers[-1].event()
            return Deferred(lambda _: self.ends.append("cancelled"))

        self.site = ClusterSite(self.clock, klein_resource(self.app))

    def stream(self, path: bytes) -> Client:
        client = self.client()
        client.send(b"GET %b HTTP/1.1\r\nHost: h\r\n\r\n" % path)
        self.assertTrue(client.received.endswith(b"data: 1\n\n\r\n"))
        return client

    def test_ends(self) -> None:
        """Whole for the client; the handler is cancelled as when the client leaves."""
        clients = [self.stream(path) for path in (b"/loop", b"/producer")]
        drained = self.site.drain(spread=3.0)
        self.clock.advance(0)
        self.assertEqual(self.ends, [])
        self.clock.pump([1.0] * 5)
        self.assertEqual(self.ends, ["cancelled", "cancelled"])
        for client in clients:
            self.assertTrue(client.received.endswith(b"data: 1\n\n\r\n0\r\n\r\n"))
            self.assertEqual(client.received.count(b"\r\n0\r\n\r\n"), 1)
        self.producers[0].event()
        self.assertTrue(clients[1].received.endswith(b"\r\n0\r\n\r\n"))
        for client in clients:
            client.goes()
        self.clock.advance(0)
        self.successResultOf(drained)
        self.assertEqual(self.clock.getDelayedCalls(), [])


def unchunked(body: bytes) -> bytes:
    """Return what whole chunks carry."""
    got = b""
    while True:
        size, _, body = body.partition(b"\r\n")
        if not int(size, 16):
            assert body == b"\r\n", body
            return got
        got, body = got + body[: int(size, 16)], body[int(size, 16) + 2 :]
