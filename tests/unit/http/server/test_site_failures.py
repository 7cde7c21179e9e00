"""What a client gets when one of the site's resources fails."""

from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import Request

from clusterapp.http.site import ClusterSite
from tests.unit.http.clients import Client


class Broken(Resource):
    """A resource that cannot be rendered."""

    isLeaf = True

    def render(self, request: Request) -> bytes:
        raise ValueError("<secret>")


def page(why: Failure) -> bytes:
    """Describe a failure."""
    return b"<p>" + repr(why.value).encode()


class FailureTests(SynchronousTestCase):
    """A 500, and the error in the log."""

    def setUp(self) -> None:
        self.clock = Clock()

    def answer(self, site: ClusterSite) -> bytes:
        client = Client(site, self.clock)
        self.addCleanup(client.goes)
        client.send(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        self.clock.advance(0)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        return client.received

    def test_clients_are_told_nothing(self) -> None:
        answer = self.answer(ClusterSite(self.clock, Broken()))
        self.assertTrue(answer.startswith(b"HTTP/1.1 500 "))
        self.assertNotIn(b"secret", answer)

    def test_clients_get_the_page(self) -> None:
        answer = self.answer(ClusterSite(self.clock, Broken(), failure_page=page))
        head, _, body = answer.partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"HTTP/1.1 500 "))
        self.assertIn(b"\r\nContent-Type: text/html; charset=utf-8", head)
        self.assertIn(b"\r\nContent-Length: %d" % len(body), head)
        self.assertEqual(body, b"<p>ValueError('<secret>')")
