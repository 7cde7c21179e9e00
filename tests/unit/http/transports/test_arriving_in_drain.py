"""Connections whose transports are being made, when their site ends or drains."""

import asyncio
from collections.abc import Callable

from twisted.logger import capturedLogs

from tests.unit.http.native_sites import on_each_loop
from tests.unit.http.transports.draining_sites import LeavingCase, TakingWorker


class ArrivalTests(LeavingCase):
    """Connections that the loop is making, at each step of that."""

    async def end_after(self, turns: int, end: Callable[[], object]) -> None:
        """End the site so many turns of the loop after a connection."""
        client = await self.client()
        client.accepted()
        for _ in range(turns):
            await asyncio.sleep(0)
        end()
        await self.turns()
        await self.later(2)
        await self.so(lambda: not self.site.connections)
        client.goes()
        self.site.draining = False

    @on_each_loop
    async def test_abort(self) -> None:
        """Nothing is left of it, and nothing is told."""
        with capturedLogs() as told:
            for turns in range(8):
                await self.end_after(turns, self.site.abort)
        self.assertEqual(told, [])

    @on_each_loop
    async def test_drain(self) -> None:
        with capturedLogs() as told:
            for turns in range(8):
                await self.end_after(turns, self.site.drain)
        self.assertEqual(told, [])

    @on_each_loop
    async def test_request_in_a_drain(self) -> None:
        """It is answered whole, and then the connection ends."""
        with capturedLogs() as told:
            for turns in range(8):
                client = await self.client()
                client.accepted()
                drained = self.site.drain()
                for _ in range(turns):
                    await asyncio.sleep(0)
                await client.get("/hi")
                self.assertTrue((await client.rest()).endswith(b"\r\n\r\nhi"))
                await self.so(lambda: not self.site.connections)
                self.assertTrue(drained.called)
                self.site.draining = False
        self.assertEqual(told, [])

    @on_each_loop
    async def test_hand_over(self) -> None:
        taker = TakingWorker(self)
        with capturedLogs() as told:
            for turns in range(8):
                await self.end_after(
                    turns, lambda: self.site.drain(hand_over=taker.hand_over)
                )
                await self.end(taker)
        self.assertEqual((told, taker.taken), ([], 8))
