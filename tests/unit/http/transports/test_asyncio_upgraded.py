"""Upgraded connections on asyncio's transports, as in a worker."""

from typing import Any

from clusterapp.http.connection_limits import Limits
from clusterapp.http.websocket.frames import close_frame
from tests.unit.http.connection.upgrades import WEBSOCKET, Hearing, Upgrading
from tests.unit.http.native_sites import NativeCase, on_each_loop
from tests.unit.http.websockets import FIRST, PING, frame, header


class NativeTests(NativeCase):
    """The same on asyncio's transports, as in a worker."""

    limits = Limits(requests=None, message=1000)

    async def upgraded(self, *, takes: bool, early: bytes = b"") -> tuple[Any, Hearing]:
        """Ask; give the client and the protocol."""
        client = await self.client()
        await client.send(WEBSOCKET + early)
        request = await self.request()
        self.resource.requests.clear()
        upgrading = Upgrading(Hearing, takes=takes)
        upgrading.render(request)
        await client.until(b"101")
        return client, upgrading.made[0]

    async def heard(self, protocol: Hearing, expected: bytes) -> None:
        """Wait until a protocol has heard so much, which must be this."""

        def heard() -> bytes:
            return b"".join(
                each if isinstance(each, bytes) else each.encode()
                for each in protocol.heard
            )

        await self.so(lambda: len(heard()) >= len(expected))
        self.assertEqual(heard(), expected)

    @on_each_loop
    async def test_reading_stops_while_writing_is_paused(self) -> None:
        """Nothing is read of a client that takes nothing; then all of it is."""
        for takes in (False, True):
            client, protocol = await self.upgraded(takes=takes)
            answer = bytes(30_000_000)
            protocol.transport.write(answer)
            await client.send(frame(b"a"))
            await client.send(frame(b"b"))
            connection: Any = next(iter(self.site._connections))
            self.assertTrue(connection.input.paused)
            left = len(answer)
            self.assertEqual(protocol.heard, [])
            while left:
                left -= len(await client.some())
            await self.heard(protocol, frame(b"a") + frame(b"b"))
            client.goes()
            await self.so(lambda: not self.site._connections)

    @on_each_loop
    async def test_all_is_passed_on_before_the_end(self) -> None:
        """A client may end its side behind what it has sent."""
        stream = frame(b"", PING) * 1000
        for takes in (False, True):
            client, protocol = await self.upgraded(takes=takes)
            await client.send(stream)
            client.goes()
            await self.heard(protocol, stream + b"lost")
            await self.so(lambda: not self.site._connections)

    @on_each_loop
    async def test_broken_rules(self) -> None:
        """The client can read the close frame whatever it still sends."""
        for takes in (False, True):
            client, protocol = await self.upgraded(takes=takes)
            await client.send(header(FIRST, 2**40) + bytes(100_000))
            self.assertEqual(await client.rest(), close_frame(1009))
            self.assertEqual(protocol.heard, ["lost"])
            client.goes()
            await self.so(lambda: not self.site._connections)
