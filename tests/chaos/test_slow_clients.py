"""Clients that send the head of a request so slowly that it never ends."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

from tests.chaos.sites import ChaosCase

CLIENTS = 500
#: The header timeout, in seconds, and how late a loaded machine may be with it. It
#: begins with the first byte, which a client has sent a little before it notes that.
TIMEOUT, EARLY, LATE = 3.0, 0.1, 5.0


async def drip(port: int) -> tuple[float, bytes]:
    """Send a head byte by byte; return how long that was borne, and the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began = time.monotonic()
    try:
        writer.write(b"GET /whoami/1 HTTP/1.1\r\nHost: chaos\r\nX-Slow: ")
        answer = asyncio.ensure_future(reader.read(65536))
        while not answer.done():
            writer.write(b"x")
            await asyncio.wait([answer], timeout=0.5)
        return time.monotonic() - began, answer.result()
    finally:
        writer.transport.abort()


async def drip_all(port: int) -> list[tuple[float, bytes]]:
    """Run all the slow clients at once."""
    return await asyncio.gather(*(drip(port) for _ in range(CLIENTS)))


class SlowClientTests(ChaosCase):
    """A cluster with a short header timeout."""

    def test_slow_heads(self) -> None:
        """Others are served on time; the slow ones get 408 when theirs is over."""
        with (
            self.cluster("--header-timeout", f"{TIMEOUT}") as running,
            self.load(running, patience=TIMEOUT) as load,
            ThreadPoolExecutor(1) as executor,
        ):
            load.wait_for(200)
            dripping = executor.submit(lambda: asyncio.run(drip_all(running.port)))
            load.wait_for_more(400)
            self.assertFalse(dripping.done())
            borne = dripping.result(60)
            figures = load.report(f"{CLIENTS} slow clients")
            times = sorted(seconds for seconds, _ in borne)
            print(f"cut off after {times[0]:.2f} to {times[-1]:.2f} s")
            self.assertEqual({answer[:12] for _, answer in borne}, {b"HTTP/1.1 408"})
            self.assertGreater(times[0], TIMEOUT - EARLY)
            self.assertLess(times[-1], TIMEOUT + LATE)
            self.assert_served(figures, at_least=600)
            self.assert_stops(running)
