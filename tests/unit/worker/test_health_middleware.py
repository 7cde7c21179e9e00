"""The words of the master that clients of a worker see."""

from typing import Any, cast

from clusterapp.interfaces import Fields
from clusterapp.settings.model import Settings
from clusterapp.web.loading import load
from clusterapp.worker.child_program import ChildProgram
from clusterapp.worker.health_middleware import HealthMiddleware
from tests.unit.master import master_apps
from tests.unit.web.static.static_files import Answer, read
from tests.unit.worker.children import WORKER, ChildCase

BROWSER = [(b"Accept", b"text/html")]


class FrontTests(ChildCase):
    """A worker whose master has something to say."""

    def ask(
        self, child: ChildProgram, target: bytes = b"/healthz", fields: Fields = ()
    ) -> Answer | None:
        """Return the middleware's answer function."""
        answer = cast("Any", child._host).site.answer
        prepared = answer(b"GET", target, fields)
        return None if prepared is None else read(prepared)

    def status(self, child: ChildProgram) -> int | None:
        """Return the status of what is asked for the health."""
        answer = self.ask(child)
        return None if answer is None else answer.status

    def test_health(self) -> None:
        child = self.begin(health_path="/healthz")
        self.assertEqual(self.status(child), 503)
        self.far.cluster_health(ready=True, detail="[1]")
        self.pump.flush()
        answer = self.ask(child)
        assert answer is not None
        self.assertEqual((answer.status, answer.body), (200, b"[1]"))

    def test_route_of_the_core(self) -> None:
        """The application with its core is the one whose routes count."""
        child = self.begin(health_path="/counter")
        self.far.cluster_health(ready=True, detail="{}")
        self.pump.flush()
        self.assertIsNone(self.ask(child, b"/counter"))

    def test_told_while_it_boots(self) -> None:
        """The words are kept for when there is an application."""
        waited = master_apps.pending(master_apps.START)
        child = self.begin(WORKER, health_path="/healthz", reload=True)
        self.far.cluster_health(ready=True, detail="{}")
        self.far.broken("a mistake")
        self.pump.flush()
        waited.callback(None)
        self.assertEqual(self.status(child), 200)
        page = self.ask(child, b"/", BROWSER)
        assert page is not None
        self.assertIn(b"a mistake", page.body)

    def test_trial(self) -> None:
        """Until the worker has its place, the cluster does not matter."""
        child = self.begin(health_path="/healthz", as_canary=True)
        self.far.cluster_health(ready=False, detail="{}")
        self.pump.flush()
        self.assertEqual(self.status(child), 200)
        self.far.activate()
        self.pump.flush()
        self.assertEqual(self.status(child), 503)

    def test_health_before_the_error_page(self) -> None:
        child = self.begin(health_path="/healthz", reload=True)
        self.far.broken("a mistake")
        self.pump.flush()
        answer = self.ask(child, fields=BROWSER)
        assert answer is not None
        self.assertEqual(answer.status, 503)

    def test_nothing_that_was_not_asked_for(self) -> None:
        """Without the settings no request passes through anything of it."""
        child = self.begin()
        self.far.cluster_health(ready=False, detail="{}")
        self.far.broken("a mistake")
        self.pump.flush()
        self.assertIsNone(cast("Any", child._host).site.answer)


class StaticTests(ChildCase):
    """What was there before stays behind it."""

    def test_files(self) -> None:
        loaded = load(None, None, cast("Any", self.reactor))
        front = HealthMiddleware(
            Settings(health_path="/healthz", reload=True), as_canary=False
        )
        answer = front.before(loaded).answer
        assert answer is not None
        found = answer(b"GET", b"/static/demo.css", [])
        assert found is not None
        self.assertEqual(found.status, 200)
        self.assertIs(
            HealthMiddleware(Settings(), as_canary=False).before(loaded).answer,
            loaded.answer,
        )
