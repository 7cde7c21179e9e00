"""How the two ends of a cluster's own connection close it: no request crosses that."""

from twisted.web.client import ResponseDone

from clusterapp.http.connection.peer_kind import PeerKind
from clusterapp.http.connection_limits import CLOSE_NOTICE_SECONDS, Limits
from clusterapp.http.site import ClusterSite
from clusterapp.http.syntax.message_head import CLOSE_NOTICE
from clusterapp.http.transports.twisted_adapter import TwistedAdapter
from clusterapp.web.hosting import CoreSite
from tests.unit.http.clients import CHUNKED as CHUNKED_HEAD
from tests.unit.http.clients import Client, Greeting, SiteTestCase
from tests.unit.http.native_sites import on_each_loop
from tests.unit.http.upstream.core_wire import CHUNKED, OK, AgentTestCase, Collector
from tests.unit.worker.workers import MARK, WorkersCase

GET = b"GET /own HTTP/1.1\r\nHost: h\r\n\r\n"
CLOSE = b"\r\nConnection: close\r\n"


class ServerTests(SiteTestCase):
    """A core's site, whose clients are workers."""

    def setUp(self) -> None:
        super().setUp()
        site = self.site
        self.patch(
            site, "buildProtocol", lambda _: TwistedAdapter(site, PeerKind.AGENT)
        )

    def test_idle(self) -> None:
        """It asks for the close, and waits for it: a request may be on its way."""
        client = self.client()
        client.send(GET)
        before = client.received
        drained = self.site.drain(spread=3.0)
        self.assertEqual(client.received, before + CLOSE_NOTICE)
        self.assertEqual(client.transport.ended, "")
        self.clock.advance(CLOSE_NOTICE_SECONDS - 0.1)
        self.assertEqual(client.transport.ended, "")
        client.goes()
        self.successResultOf(drained)

    def test_request_that_crosses(self) -> None:
        """It is answered, and its response says that the connection closes."""
        client = self.client()
        client.send(GET)
        before = client.received
        drained = self.site.drain()
        client.send(GET)
        answer = client.received[len(before) :]
        self.assertTrue(answer.startswith(CLOSE_NOTICE + b"HTTP/1.1 200 OK\r\n"))
        self.assertIn(CLOSE, answer)
        self.assertTrue(answer.endswith(b"hello"))
        self.clock.advance(0)
        self.successResultOf(drained)

    def test_behind_a_response(self) -> None:
        """One that had begun without a word of the end is followed by the notice."""
        client, exchange = self.ask(b"GET /core HTTP/1.1\r\nHost: h\r\n\r\n")
        exchange.respond(CHUNKED_HEAD)
        drained = self.site.drain()
        exchange.finish()
        self.assertNotIn(CLOSE, client.received)
        self.assertTrue(client.received.endswith(b"0\r\n\r\n" + CLOSE_NOTICE))
        self.assertEqual(client.transport.ended, "")
        client.send(GET)
        self.assertIn(CLOSE, client.received)
        self.clock.advance(0)
        self.successResultOf(drained)

    def test_first_request(self) -> None:
        """A connection is made for a request: it is waited for, without a word."""
        client, late = self.client(), self.client()
        self.site.drain()
        self.assertEqual(client.received, b"")
        self.clock.advance(CLOSE_NOTICE_SECONDS - 1.1)
        client.send(GET)
        self.assertTrue(client.received.endswith(b"hello"))
        self.clock.advance(2.1)
        self.assertEqual(late.transport.ended, "closed")

    def test_process_that_stands_still(self) -> None:
        """It does not hold up the drain for longer than some seconds."""
        client = self.client()
        client.send(GET)
        drained = self.site.drain()
        self.clock.pump([1.0] * int(CLOSE_NOTICE_SECONDS + 2))
        self.assertEqual(client.transport.ended, "closed")
        self.successResultOf(drained)

    def test_clients_get_none(self) -> None:
        """To a browser or a proxy it would be a response to nothing."""
        self.site = ClusterSite(self.clock, Greeting())
        client = self.client()
        client.send(GET)
        before = client.received
        self.site.drain(spread=3.0)
        self.clock.advance(5)
        self.assertEqual(client.received, before)


class CoreTests(SiteTestCase):
    """A core that is short of descriptors."""

    def setUp(self) -> None:
        super().setUp()
        limits = Limits(keepalive_timeout=60.0)
        self.site = CoreSite(self.clock, Greeting(), limits=limits)

    def idle(self) -> Client:
        """Connect a worker that has been answered."""
        client = self.client()
        client.send(GET)
        return client

    def test_idle(self) -> None:
        """Workers are asked to close those that are idle longest, each once."""
        clients = []
        for _ in range(5):
            clients.append(self.idle())
            self.clock.advance(1)
        new = self.client()
        asked = []
        for _ in range(4):
            count = self.site.close_idle()
            asked.append(
                (count, [each.received.endswith(CLOSE_NOTICE) for each in clients])
            )
        self.assertEqual(
            asked,
            [
                (2, [True, True, False, False, False]),
                (1, [True, True, True, False, False]),
                (1, [True, True, True, True, False]),
                (1, [True] * 5),
            ],
        )
        self.assertEqual(self.site.close_idle(), 0)
        self.assertEqual((new.received, new.transport.ended), (b"", ""))
        self.assertEqual({each.transport.ended for each in clients}, {""})

    def test_busy(self) -> None:
        """What carries a request of a client is left alone."""
        half = self.client()
        half.send(GET[:9])
        self.assertEqual(self.site.close_idle(), 0)
        half.send(GET[9:])
        self.assertTrue(half.received.endswith(b"hello"))


class AgentTests(AgentTestCase):
    """A worker's connections to the core."""

    def test_idle(self) -> None:
        """It closes a connection that it does not use, and makes another one."""
        self.answered(OK)
        (wire,) = self.core.wires
        wire.answer(CLOSE_NOTICE)
        self.assertTrue(wire.aborted)
        self.send()
        self.assertEqual(len(self.core.wires), 2)

    def test_request_that_crosses(self) -> None:
        """Its response is that which follows; no client hears of the notice."""
        self.answered(OK)
        sent = self.send()
        (wire,) = self.core.wires
        wire.answer(CLOSE_NOTICE)
        self.assertNoResult(sent)
        wire.answer(b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK)
        self.assertEqual(self.successResultOf(sent).code, 200)
        self.assertEqual([head.status for head in self.interims], [103])
        # Even if the other end has not said it once more.
        self.assertTrue(wire.aborted)

    def test_behind_a_response(self) -> None:
        """The response is whole, and the connection is not used again."""
        self.answered(OK + CLOSE_NOTICE)
        self.assertTrue(self.core.wires[0].aborted)

    def test_behind_a_body(self) -> None:
        """The same when the head has come before."""
        sent = self.send()
        (wire,) = self.core.wires
        wire.answer(CHUNKED)
        body = Collector()
        self.successResultOf(sent).deliverBody(body)
        wire.answer(b"2\r\nab\r\n0\r\n\r\n" + CLOSE_NOTICE)
        self.assertEqual(body.body, b"ab")
        assert body.reason is not None
        self.assertIsNotNone(body.reason.check(ResponseDone))
        self.assertTrue(wire.aborted)


class RelayTests(WorkersCase):
    """A worker that drains, and others that pass requests on to it."""

    @on_each_loop
    async def test_nobody_takes_its_connections(self) -> None:
        """The other worker closes them at once: the drain does not wait."""
        client = await self.client()
        await client.get("/hi", also=MARK)
        await client.until(b"\r\n\r\nhi")
        self.assertEqual(self.there.site.connections, 1)
        drained = self.there.site.drain(spread=60.0)
        await self.so(lambda: drained.called)
        client.goes()
