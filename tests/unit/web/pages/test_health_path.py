"""The health of the cluster on the public port, as a client sees it."""

import json

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.http.server.prepared_response import Answer, Prepared
from clusterapp.http.site import ClusterSite
from clusterapp.interfaces import Fields
from clusterapp.web.pages.health_path import PublicHealth
from tests.unit.http.clients import Client, Greeting

FILE = Prepared(200, [], [b"a file"])


def files(_method: bytes, target: bytes, _fields: Fields) -> Prepared | None:
    """Stand for static files: there is one."""
    return FILE if target == b"/static/a" else None


class HealthCase(SynchronousTestCase):
    """A site whose health is asked for at ``/healthz``; all else is greeted."""

    def make(
        self,
        behind: Answer | None = files,
        *,
        routed: bool = False,
        as_canary: bool = False,
    ) -> None:
        """Make the site."""
        self.health = PublicHealth("/healthz", as_canary=as_canary)
        clock = Clock()
        answer = self.health.before(behind, routed=routed)
        self.client = Client(ClusterSite(clock, Greeting(), answer=answer), clock)
        self.addCleanup(self.client.goes)

    def ask(self, target: bytes = b"/healthz", method: bytes = b"GET") -> bytes:
        """Send a request; give all of its answer."""
        before = len(self.client.received)
        self.client.send(b"%b %b HTTP/1.1\r\nHost: h\r\n\r\n" % (method, target))
        return self.client.received[before:]

    def assert_answer(self, status: int, body: bytes, answer: bytes) -> None:
        """Check an answer's status and body."""
        head, _, sent = answer.partition(b"\r\n\r\n")
        self.assertEqual((int(head.split(b" ")[1]), sent), (status, body))


class ClusterTests(HealthCase):
    """A worker that has its place, and an application without such a route."""

    def test_before_the_first_word(self) -> None:
        """The cluster counts as not ready."""
        self.make()
        head, _, body = self.ask().partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"HTTP/1.1 503 "))
        self.assertIs(json.loads(body)["ready"], False)

    def test_what_the_master_says(self) -> None:
        """The last word counts, and so does its detail."""
        self.make()
        for ready, status in ((True, 200), (False, 503), (True, 200)):
            detail = json.dumps({"ready": ready, "workers": "é"}, ensure_ascii=False)
            self.health.set_readiness(ready=ready, detail=detail)
            self.assert_answer(status, detail.encode(), self.ask())

    def test_fields(self) -> None:
        """Nobody in between may keep it, ready or not."""
        self.make()
        for ready in (False, True):
            self.health.set_readiness(ready=ready, detail="{}")
            head = self.ask().lower()
            self.assertIn(b"\r\ncontent-type: application/json\r\n", head)
            self.assertIn(b"\r\ncache-control: no-store\r\n", head)

    def test_query(self) -> None:
        self.make()
        self.health.set_readiness(ready=True, detail="{}")
        for target in (b"/healthz?", b"/healthz?a=/b?c"):
            self.assert_answer(200, b"{}", self.ask(target))

    def test_head(self) -> None:
        """Its status and its length, without its body."""
        self.make()
        for ready, status in ((False, 503), (True, 200)):
            self.health.set_readiness(ready=ready, detail="{1}")
            answer = self.ask(method=b"HEAD")
            self.assert_answer(status, b"", answer)
            self.assertIn(b"\r\nContent-Length: 3\r\n", answer)

    def test_other_requests(self) -> None:
        """They go where they went before, whatever the health."""
        self.make()
        for target in (b"/", b"/healthz/", b"/healthzz", b"/health", b"/x/healthz"):
            self.assertTrue(self.ask(target).endswith(b"hello"), target)
        self.assertTrue(self.ask(b"/static/a").endswith(b"a file"))
        self.assertTrue(self.ask(method=b"POST").endswith(b"hello"))

    def test_without_anything_behind(self) -> None:
        self.make(None)
        self.assertTrue(self.ask(b"/static/a").endswith(b"hello"))


class RouteTests(HealthCase):
    """An application with a route of its own there."""

    def test_not_ready(self) -> None:
        """The application is not asked."""
        self.make(routed=True)
        self.health.set_readiness(ready=False, detail="{}")
        self.assert_answer(503, b"{}", self.ask())

    def test_ready(self) -> None:
        """Its answer decides."""
        self.make(routed=True)
        self.health.set_readiness(ready=True, detail="{}")
        self.assertTrue(self.ask().endswith(b"hello"))

    def test_file(self) -> None:
        """Static files are asked as ever."""
        self.make(lambda *_: FILE, routed=True)
        self.health.set_readiness(ready=True, detail="{}")
        self.assertTrue(self.ask().endswith(b"a file"))


class TrialTests(HealthCase):
    """A worker that only the master talks to yet."""

    def test_cluster_does_not_matter(self) -> None:
        self.make(as_canary=True)
        self.assertTrue(self.ask().startswith(b"HTTP/1.1 200 "))
        self.health.set_readiness(ready=False, detail="{}")
        self.assertTrue(self.ask().startswith(b"HTTP/1.1 200 "))

    def test_application_decides(self) -> None:
        self.make(routed=True, as_canary=True)
        self.health.set_readiness(ready=False, detail="{}")
        self.assertTrue(self.ask().endswith(b"hello"))

    def test_after_the_trial(self) -> None:
        """What the master has said in the meantime counts."""
        self.make(as_canary=True)
        self.health.set_readiness(ready=False, detail="{}")
        self.health.canary_passed()
        self.assert_answer(503, b"{}", self.ask())
