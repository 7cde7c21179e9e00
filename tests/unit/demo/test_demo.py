"""The demo site: its workers' half."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from treq.testing import StubTreq
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.web.resource import Resource

from clusterapp import demo
from clusterapp.errors import CoreUnreachableError
from tests.unit.demo.demonstrating import DemoCase, on_the_wire

SCRIPT = Path(demo.__file__).parent.parent / "static" / "demo.js"


class FakeCore:
    """A core that answers a worker's visit with whatever ``answer`` returns."""

    def __init__(self, answer: Callable[[], "Deferred[Any]"]) -> None:
        self.answer = answer
        self.told: list[dict[str, Any]] = []

    def post(self, _url: str, json: dict[str, Any]) -> "Deferred[Any]":
        self.told.append(json)
        return self.answer()


class Refusal(Resource):
    """A core that refuses everything."""

    isLeaf = True

    def render(self, request: Any) -> bytes:
        request.setResponseCode(403)
        return b"no"


class WorkerTests(DemoCase):
    """What runs in every worker."""

    def test_whoami_is_a_line_for_curl(self) -> None:
        self.join(self.core)
        text = self.text(self.worker.get("http://demo.invalid/whoami"))
        self.assertEqual(text, f"worker 2, pid {os.getpid()}, generation 1\n")

    def test_whoami_is_json_for_who_asks(self) -> None:
        self.join(self.core)
        text = self.text(
            self.worker.get(
                "http://demo.invalid/whoami", headers={"Accept": "application/json"}
            )
        )
        self.assertEqual(
            json.loads(text), {"slot": 2, "pid": os.getpid(), "generation": 1}
        )

    def test_whoami_outside_a_cluster(self) -> None:
        """Without a cluster there is no worker to name, and no failure."""
        text = self.text(self.worker.get("http://demo.invalid/whoami"))
        self.assertEqual(text, f"no worker, pid {os.getpid()}\n")

    def test_whoami_is_told_to_the_core(self) -> None:
        self.join(self.core)
        self.text(self.worker.get("http://demo.invalid/whoami"))
        [told] = cast("list[dict[str, object]]", self.board.snapshot()["visits"])
        self.assertEqual((told["slot"], told["what"]), (2, "GET /whoami"))

    def test_whoami_does_not_wait_for_the_core(self) -> None:
        """One message is on its way at a time; the next sums up what came since."""
        waiting: list[Deferred[Any]] = [Deferred(), Deferred()]
        core = FakeCore(iter(waiting).__next__)
        self.join(core)
        for _ in range(4):
            self.text(self.worker.get("http://demo.invalid/whoami"))
        self.assertEqual([told["times"] for told in core.told], [1])
        waiting[0].errback(CoreUnreachableError("gone"))
        self.assertEqual([told["times"] for told in core.told], [1, 3])
        waiting[1].errback(CoreUnreachableError("gone"))

    def test_whoami_logs_what_it_did_not_expect(self) -> None:
        """A fault in telling the core is logged, and the next visit is told."""
        core = FakeCore(lambda: fail(ValueError("a fault")))
        self.join(core)
        self.text(self.worker.get("http://demo.invalid/whoami"))
        self.text(self.worker.get("http://demo.invalid/whoami"))
        self.assertEqual(len(core.told), 2)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 2)

    def test_page_shows_worker_and_board(self) -> None:
        """The page needs no script: all of it is in the answer."""
        self.join(self.core)
        self.board.count()
        text = self.text(self.worker.get("http://demo.invalid/"))
        self.assertIn(f"<title>worker 2, pid {os.getpid()}, generation 1", text)
        self.assertRegex(text, r'id="counter"[^>]*>1</output>')
        self.assertIn('<span data-field="what">GET /</span>', text)
        self.assertIn('<rect class="fill" width="100%"', text)
        self.assertIn(f"kill -9 {os.getpid()}<", text)
        self.assertIn(f"kill -TERM {os.getppid()}<", text)

    def test_page_names_the_host_that_was_asked(self) -> None:
        self.join(self.core)
        text = self.text(self.worker.get("https://demo.invalid:8443/"))
        self.assertIn("curl -s https://demo.invalid:8443/whoami", text)

    def test_page_takes_no_shell_characters_from_host(self) -> None:
        """What the page offers for pasting is never chosen by a client."""
        self.join(self.core)
        for host in ("demo.invalid;reboot", "$(reboot)", "`reboot`", "a b"):
            text = self.text(
                self.worker.get("http://demo.invalid/", headers={"Host": host})
            )
            self.assertNotIn("reboot", text)
            self.assertIn("curl -s localhost:8080/whoami", text)

    def test_page_without_core(self) -> None:
        """A page whose core cannot be reached is a page that says so."""
        self.join(FakeCore(lambda: fail(CoreUnreachableError("gone"))))
        text = self.text(self.worker.get("http://demo.invalid/"))
        self.assertIn("the core is not there", text)
        self.assertIn("Worker 2", text)

    def test_page_with_a_core_that_refuses(self) -> None:
        self.join(StubTreq(Refusal()))
        text = self.text(self.worker.get("http://demo.invalid/"))
        self.assertIn("the core is not there", text)

    def test_page_does_not_wait_for_ever(self) -> None:
        """A core that is silent for `CORE_TIMEOUT` counts as one that is gone."""
        self.join(FakeCore(Deferred))
        answer = self.worker.get("http://demo.invalid/")
        self.clock(self.worker).advance(demo.CORE_TIMEOUT - 0.1)
        self.worker.flush()
        self.assertNoResult(answer)
        self.clock(self.worker).advance(0.2)
        self.worker.flush()
        self.assertIn("the core is not there", self.text(answer))

    def test_page_outside_a_cluster(self) -> None:
        text = self.text(self.worker.get("http://demo.invalid/"))
        self.assertIn("No cluster answered", text)
        self.assertNotIn("kill", text)

    def test_page_lets_the_connection_go(self) -> None:
        """A browser that reloads is to reach other workers as well."""
        self.join(self.core)
        wire = on_the_wire(demo.app, b"GET /")
        self.assertIn(b"\r\nConnection: close\r\n", wire)

    def test_unknown_address_has_a_page(self) -> None:
        self.join(self.core)
        answer = self.answer(self.worker.get("http://demo.invalid/nothing"), 404)
        self.assertIn("Nothing answers here", self.body(answer))
        self.assertTrue(answer.headers.hasHeader("Content-Security-Policy"))

    def test_page_obeys_its_own_policy(self) -> None:
        """No inline style and script, nothing from elsewhere."""
        self.join(self.core)
        answer = self.answer(self.worker.get("http://demo.invalid/"))
        [policy] = answer.headers.getRawHeaders("Content-Security-Policy")
        self.assertNotIn("unsafe", policy)
        text = self.body(answer)
        self.assertNotRegex(text, r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)")
        # Links may lead elsewhere; what the page loads and sends may not.
        loaded = r'<(?!a\s)[a-z]+[^>]*?\s(?:src|href|action)="([^"]*)"'
        addresses = re.findall(loaded, text)
        self.assertIn("/static/demo.css", addresses)
        self.assertEqual([a for a in addresses if not re.match(r"/(?!/)|#", a)], [])

    def test_page_has_what_its_script_looks_for(self) -> None:
        self.join(self.core)
        text = self.text(self.worker.get("http://demo.invalid/"))
        script = SCRIPT.read_text()
        names = set(re.findall(r'(?:byId|copyOf)\("(\w+)"', script))
        fields = set(re.findall(r'fill\(\w+, "(\w+)"', script))
        self.assertLessEqual(names, set(re.findall(r'\sid="(\w+)"', text)))
        self.assertLessEqual(fields, set(re.findall(r'data-field="(\w+)"', text)))
        self.assertTrue(names and fields)


class PresenceTests(DemoCase):
    """A worker that lets the core know of it for as long as it lives."""

    def setUp(self) -> None:
        super().setUp()
        self.presence, self.clock_ = demo.Presence(), Clock()
        self.presence.loop.clock = self.clock_
        self.addCleanup(self.presence.end)

    def test_again_when_the_core_has_gone(self) -> None:
        """Whatever ends the connection, it is there again after a while."""
        answers = [fail(CoreUnreachableError("no core")), Deferred()]
        core = FakeCore(iter(answers).__next__)
        self.join(core)
        self.presence.begin()
        self.assertEqual(len(core.told), 1)
        self.clock_.advance(demo.PRESENCE_PAUSE)
        self.assertEqual([told["slot"] for told in core.told], [2, 2])

    def test_end(self) -> None:
        """A worker that stops waits for nothing, and nothing is logged."""
        self.join(FakeCore(Deferred))
        self.presence.begin()
        self.presence.end()
        self.assertEqual(self.clock_.getDelayedCalls(), [])
        demo.Presence().end()
