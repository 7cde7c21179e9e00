"""When TLS handshakes begin on asyncio's transports."""

import asyncio
import socket
import ssl
from itertools import pairwise
from struct import pack

import trustme
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.http.tls.alerts import AlertingContext
from clusterapp.http.transports.tls_handshakes import HandshakeTurns
from tests.unit.http.native_sites import NativeCase, Tls, on_each_loop
from tests.unit.http.transports.tls_clients import RawTls, soon


class GoneTests(NativeCase):
    """Clients that have gone cost no handshake."""

    async def gone(self, client: RawTls) -> None:
        """Nothing is left of a client, and no handshake has begun."""
        await self.turns()
        self.assertEqual((self.site.connections, client.begun), (0, 0))
        client.socket.close()

    @on_each_loop
    async def test_without_a_word(self) -> None:
        client = RawTls(self, Tls())
        client.socket.shutdown(socket.SHUT_WR)
        client.serve()
        await self.gone(client)

    @on_each_loop
    async def test_end_behind_hello(self) -> None:
        client = RawTls(self, Tls())
        client.socket.send(client.hello())
        client.socket.shutdown(socket.SHUT_WR)
        client.serve()
        await self.gone(client)

    @on_each_loop
    async def test_reset_behind_hello(self) -> None:
        client = RawTls(self, Tls())
        client.socket.send(client.hello())
        reset = pack("ii", 1, 0)
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        client.socket.close()
        client.serve()
        await self.gone(client)

    @on_each_loop
    async def test_end_after_it_was_accepted(self) -> None:
        client = RawTls(self, Tls())
        client.serve()
        await self.turns()
        self.assertEqual(self.site.connections, 1)
        client.socket.send(client.hello())
        client.socket.shutdown(socket.SHUT_WR)
        await self.gone(client)

    @on_each_loop
    async def test_end_before_its_turn(self) -> None:
        client = RawTls(self, Tls())
        client.socket.send(client.hello())
        client.serve()
        client.socket.shutdown(socket.SHUT_WR)
        await self.gone(client)

    @on_each_loop
    async def test_no_hello_in_time(self) -> None:
        client = RawTls(self, Tls())
        client.serve()
        await self.turns()
        self.assertEqual(self.site.connections, 1)
        await self.later(self.limits.keepalive_timeout + 1)
        await self.gone(client)

    @on_each_loop
    async def test_newcomers_are_not_idle_longest(self) -> None:
        """For want of descriptors, what has been idle for longer is closed first."""
        tls = Tls()
        old, new = RawTls(self, tls), RawTls(self, tls)
        old.serve()
        await soon(asyncio.ensure_future(old.handshake()))
        self.clock.advance(10)
        new.serve()
        await self.turns()
        self.assertEqual(self.site.close_idle(), 1)
        await soon(asyncio.ensure_future(new.handshake()))
        await new.ask("/hi", b"Connection: close\r\n")
        self.assertTrue((await new.rest()).endswith(b"\r\n\r\nhi"))
        old.socket.close()
        new.socket.close()

    @on_each_loop
    async def test_hello_in_time(self) -> None:
        """Whether it is there when the connection is accepted or not."""
        client = RawTls(self, Tls())
        if self.asks_first:
            client.socket.send(client.hello())
        client.serve()
        await self.turns()
        await soon(asyncio.ensure_future(client.handshake()))
        await client.ask("/hi", b"Connection: close\r\n")
        self.assertTrue((await client.rest()).endswith(b"\r\n\r\nhi"))
        client.socket.close()


class AlertTests(NativeCase):
    """A client learns why its handshake has failed."""

    @on_each_loop
    async def test_no_certificate(self) -> None:
        tls = Tls()
        tls.server = AlertingContext(ssl.PROTOCOL_TLS_SERVER)
        tls.server.verify_mode = ssl.CERT_REQUIRED
        trustme.CA().issue_cert("localhost").configure_cert(tls.server)
        tls.client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        tls.client.check_hostname = False
        tls.client.verify_mode = ssl.CERT_NONE
        client = RawTls(self, tls)
        client.serve()
        await client.handshake()  # with TLS 1.3 it cannot know yet
        with self.assertRaises(ssl.SSLError) as caught:
            await client.rest()
        self.assertEqual(caught.exception.reason, "TLSV13_ALERT_CERTIFICATE_REQUIRED")
        client.socket.close()


class TurnTests(SynchronousTestCase):
    """`HandshakeTurns`."""

    def test_addresses_take_turns(self) -> None:
        """One in each turn of the loop, whatever the number of one's connections."""
        loop = asyncio.new_event_loop()
        self.addCleanup(loop.close)
        turns = HandshakeTurns(loop)
        begun: list[str] = []
        counts: list[int] = []

        async def wait(address: str) -> None:
            await turns.wait(address)
            begun.append(address)

        async def all_of_them() -> None:
            tasks = [asyncio.ensure_future(wait(each)) for each in "aaaabac"]
            await asyncio.sleep(0)
            tasks[1].cancel()  # its turn goes to the next
            while len(begun) < 6:
                counts.append(len(begun))
                await asyncio.sleep(0)
            await asyncio.gather(*tasks, return_exceptions=True)

        loop.run_until_complete(asyncio.wait_for(all_of_them(), 4))
        self.assertEqual("".join(begun), "abcaaa")
        steps = {after - before for before, after in pairwise(counts)}
        self.assertEqual(steps - {0}, {1})
