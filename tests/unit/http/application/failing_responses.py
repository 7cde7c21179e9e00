"""A site whose responses fail, and what its client and its logs have of them."""

from collections.abc import Callable
from typing import Any

from klein import Klein
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import IResource

from clusterapp.http.access_log.access_record import AccessRecord
from clusterapp.http.klein.klein_resource import klein_resource
from clusterapp.http.site import ClusterSite
from tests.unit.http.clients import Client
from tests.unit.http.side_by_side import Calling

GET = b"GET /x?secret HTTP/1.1\r\nHost: h\r\n\r\n"
HEAD = GET.replace(b"GET", b"HEAD")
OLD = b"GET /x HTTP/1.0\r\n\r\n"


class BoomError(Exception):
    """What an application raises."""


class FailureCase(SynchronousTestCase):
    """A site, its client, its log and its access log."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.answered: list[AccessRecord] = []
        self.logged: list[str] = []
        observer: Any = self._observe
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def _observe(self, event: Any) -> None:
        if "log_failure" in event and event["log_format"]:
            self.logged.append(event["log_format"].format(**event))

    def record(self, answered: AccessRecord) -> None:
        self.answered.append(answered)

    def serve(self, resource: IResource) -> Client:
        site = ClusterSite(self.clock, resource, recorder=self)
        client = Client(site, self.clock)
        self.addCleanup(client.goes)
        return client

    def klein(self, handler: Callable[..., Any], *errors: Any) -> Client:
        app = Klein()
        app.route("/x", endpoint="shop")(handler)
        for kind, error_handler in errors:
            app.handle_errors(kind)(error_handler)
        return self.serve(klein_resource(app))

    def called(self, handler: Callable[..., Any]) -> Client:
        return self.serve(Calling(lambda request, _: handler(request), []))

    def assert_broken(self, client: Client, body: bytes, *kinds: Any) -> None:
        """The client has the head, so much of a body, and no end."""
        self.assertEqual(client.transport.ended, "reset", client.received)
        head, _, sent = client.received.partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"HTTP/1.1 200"), head)
        self.assertEqual(sent, body)
        self.assert_over(client, *kinds, complete=False)

    def assert_refused(self, client: Client, *kinds: Any) -> None:
        """The client has a 500, whole, and nothing of what failed."""
        head, _, body = client.received.partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"HTTP/1.1 500 "), client.received)
        self.assertEqual(head.lower().count(b"content-length:"), 1)
        self.assertEqual(head.count(b"HTTP/1.1"), 1)
        self.assertIn(b"Content-Length: %d" % len(body), head)
        self.assert_over(client, *kinds, complete=True)

    def assert_over(self, client: Client, *kinds: Any, complete: bool) -> None:
        """The failure is logged once, and the access log tells of the request."""
        failures = self.flushLoggedErrors(*(kinds or (BoomError,)))
        self.assertEqual(len(failures), 1, failures)
        self.assertEqual(len(self.logged), 1, self.logged)
        self.assertRegex(self.logged[0], r" in (GET|HEAD) /x")
        self.assertNotIn("secret", self.logged[0])
        self.assertEqual([each.complete for each in self.answered], [complete])
        self.assertFalse(client.connection.active)
        self.clock.advance(1)
        self.assertEqual(self.flushLoggedErrors(), [])
