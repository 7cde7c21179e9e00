"""How busy a site is."""

import threading

from clusterapp.http.site import ClusterSite
from clusterapp.http.under_way import UnderWay, under_way
from tests.unit.clients import Client, SiteTestCase, Slow

GET = b"GET /a?b HTTP/1.1\r\nHost: h\r\n\r\n"


class FigureTests(SiteTestCase):
    """What a site tells of itself."""

    def setUp(self) -> None:
        super().setUp()
        self.slow = Slow()
        self.site = ClusterSite(
            self.clock, self.slow, client_of=lambda _peer, fields: fields[0][1].decode()
        )

    def figures(self) -> tuple[int, int, int]:
        """Give all of them."""
        return self.site.requests, self.site.active, self.site.connections

    def test_counts(self) -> None:
        """Requests are counted when they are answered; those of old clients stay."""
        self.assertEqual(self.figures(), (0, 0, 0))
        first, second = self.client(), self.client()
        self.assertEqual(self.figures(), (0, 0, 2))
        for client in (first, second):
            client.send(GET)
        self.assertEqual(self.figures(), (0, 2, 2))
        self.slow.requests[0].finish()
        first.send(GET)
        self.assertEqual(self.figures(), (1, 2, 2))
        for request in self.slow.requests[1:]:
            request.finish()
        self.assertEqual(self.figures(), (3, 0, 2))
        first.goes()
        first.channel.site.closed(first.channel)
        self.assertEqual(self.figures(), (3, 0, 1))
        second.send(b"GARBAGE\r\n\r\n")
        self.assertEqual(self.figures()[:2], (3, 0))

    def test_under_way(self) -> None:
        """Who asks for what, and for how long already."""
        client = self.client()
        self.client()
        self.assertEqual(self.site.under_way(), [])
        client.send(GET)
        self.clock.advance(3)
        self.assertEqual(
            self.site.under_way(), [UnderWay(b"GET", b"/a?b", "h", seconds=3.0)]
        )
        self.slow.requests[0].finish()
        self.assertEqual(self.site.under_way(), [])

    def test_body_that_comes(self) -> None:
        """A request whose body is awaited is under way as well."""
        self.client().send(b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n")
        self.assertEqual(self.figures(), (0, 1, 1))
        self.assertEqual(len(self.site.under_way()), 1)

    def test_from_another_thread(self) -> None:
        """While a handler blocks the loop, it can be seen which one."""
        seen: list[UnderWay] = []

        def block(request: object) -> int:
            watcher = threading.Thread(
                target=lambda: seen.extend(self.site.under_way())
            )
            watcher.start()
            watcher.join(30)
            return 1

        self.patch(self.slow, "render", block)
        self.client().send(GET)
        self.assertEqual([each.target for each in seen], [b"/a?b"])

    def test_changes_on_the_way(self) -> None:
        """Connections that come and go meanwhile are no trouble."""

        class Restless(set[Client]):
            left = 3

            def __iter__(self):  # type: ignore[no-untyped-def] # noqa: ANN204
                self.left -= 1
                if self.left:
                    raise RuntimeError("Set changed size during iteration")
                return super().__iter__()

        connections = Restless()
        self.assertEqual(
            under_way(connections, self.clock.seconds, self.site.client_of),  # type: ignore[arg-type]
            [],
        )
        self.assertEqual(connections.left, 0)
