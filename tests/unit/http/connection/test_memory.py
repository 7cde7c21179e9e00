"""What a connection leaves behind when it is lost."""

import gc
import tracemalloc

from clusterapp.http.connection_limits import Limits
from tests.unit.http.clients import Client, SiteTestCase

#: How much of a connection may wait for the garbage collector, in bytes: its parts,
#: the adapter, and the transport of the test.
MOST_BYTES = 6_000


class LostTests(SiteTestCase):
    """Connections with large heads, which are lost while no garbage is collected."""

    def test_head_is_freed(self) -> None:
        """The head, pending input and the rest of a body do not wait for it."""
        large = b"x" * (Limits().head // 2)
        field = b"X: " + large + b"\r\n\r\n"
        requests = (
            b"GET /own HTTP/1.1\r\nHost: h\r\n" + field,
            b"GET /own HTTP/1.1\r\nHost: h\r\n" + field[:-4],
            b"POST /own HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n" + field,
        )
        for request in requests:
            self.lose(10, request)  # what is made once
            gc.collect()
            gc.disable()
            self.addCleanup(gc.enable)
            tracemalloc.start()
            self.addCleanup(tracemalloc.stop)
            before, _ = tracemalloc.get_traced_memory()
            self.lose(50, request)
            after, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            gc.enable()
            self.assertLess((after - before) / 50, MOST_BYTES, request[:4])

    def lose(self, count: int, request: bytes) -> None:
        """Send a request from each of so many clients, and close their connections."""
        for _ in range(count):
            client: Client = self.client()
            client.send(request)
            client.goes()
