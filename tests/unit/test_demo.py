"""The demo site: its workers' half, its core's half, and its streams."""

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from klein import Klein
from treq.client import HTTPClient
from treq.testing import StubTreq
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import Site
from zope.interface.verify import verifyClass

from clusterapp import demo
from clusterapp.demo import core
from clusterapp.errors import CoreUnreachableError
from clusterapp.interfaces import Role
from clusterapp.web.application import Application

SCRIPT = Path(demo.__file__).parent.parent / "static" / "demo.js"


@dataclass
class FakeCluster:
    """A worker's place in a cluster whose core is a stub."""

    core: HTTPClient
    slot: int = 2
    generation: int = 1
    role: Role = "worker"


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


def visit(slot: int, times: int = 1) -> dict[str, object]:
    """Return what a worker tells of a request, or of some like it."""
    place = {"slot": slot, "pid": 100 + slot, "generation": 1}
    return {**place, "what": "GET /", "times": times}


def on_the_wire(app: Klein, *asked: bytes) -> bytes:
    """Return what ``app`` writes for requests on one connection."""
    transport = StringTransport()
    channel = Site(app.resource(), reactor=Clock()).buildProtocol(None)
    channel.makeConnection(transport)
    for start in asked:
        channel.dataReceived(start + b" HTTP/1.1\r\nHost: demo.invalid\r\n\r\n")
    channel.connectionLost(Failure(ConnectionDone()))
    return bytes(transport.value())


class DemoCase(SynchronousTestCase):
    """A fresh board, and a client of the demo's two halves."""

    def setUp(self) -> None:
        self.board = core.Board()
        self.patch(demo, "board", self.board)
        self.patch(demo, "summary", demo.Summary("GET /whoami"))
        self.core: Any = StubTreq(demo.app.core.resource())
        self.worker: Any = StubTreq(demo.app.resource())

    def join(self, core: object) -> None:
        """Make this process worker 2 of a cluster with that core."""
        cluster = FakeCluster(cast("HTTPClient", core))
        # Binding a process to a cluster is for life, so a test does not do it.
        self.patch(Application, "cluster", cluster)

    def clock(self, client: Any) -> MemoryReactorClock:
        return cast("MemoryReactorClock", client._agent._memoryReactor)

    def answer(self, asked: "Deferred[Any]", code: int = 200) -> Any:
        """Return the answer that has come, which must have this status."""
        response = self.successResultOf(asked)
        self.assertEqual(response.code, code)
        return response

    def text(self, asked: "Deferred[Any]", code: int = 200) -> str:
        """Return the body of the answer."""
        return self.body(self.answer(asked, code))

    def body(self, response: Any) -> str:
        return cast("str", self.successResultOf(response.text()))


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
        """A core that is silent for `CORE_PATIENCE` counts as one that is gone."""
        self.join(FakeCore(Deferred))
        answer = self.worker.get("http://demo.invalid/")
        self.clock(self.worker).advance(demo.CORE_PATIENCE - 0.1)
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


class CounterTests(DemoCase):
    """The counter, in the core."""

    def post(self, **headers: str) -> "Deferred[Any]":
        return cast(
            "Deferred[Any]",
            self.core.post(
                "http://demo.invalid/counter",
                headers={name.replace("_", "-"): v for name, v in headers.items()},
                allow_redirects=False,
            ),
        )

    def test_curl_gets_a_line(self) -> None:
        self.post()
        self.assertEqual(
            self.text(self.post(Accept="*/*")), f"counter 2, core pid {os.getpid()}\n"
        )

    def test_json_for_who_asks(self) -> None:
        text = self.text(self.post(Accept="application/json"))
        self.assertEqual(json.loads(text), {"counter": 1, "core": os.getpid()})

    def test_browser_is_sent_back_to_the_page(self) -> None:
        """By 303, so that a reload of the page does not count again."""
        answer = self.answer(self.post(Accept="text/html,*/*;q=0.8"), 303)
        self.assertEqual(answer.headers.getRawHeaders("Location"), ["/"])
        self.assertEqual(self.board.counter, 1)

    def test_looking_does_not_count(self) -> None:
        text = self.text(self.core.get("http://demo.invalid/counter"))
        self.assertEqual(text, f"counter 0, core pid {os.getpid()}\n")

    def test_another_site_may_not_count(self) -> None:
        """Browsers tell by Sec-Fetch-Site, or at least by Origin."""
        self.text(self.post(Sec_Fetch_Site="cross-site"), 403)
        self.text(self.post(Sec_Fetch_Site="same-site"), 403)
        self.text(self.post(Origin="http://other.invalid"), 403)
        self.text(self.post(Origin="null"), 403)
        self.assertEqual(self.board.counter, 0)

    def test_own_page_may_count(self) -> None:
        self.text(self.post(Sec_Fetch_Site="same-origin"))
        self.text(self.post(Sec_Fetch_Site="none"))
        self.text(self.post(Origin="http://demo.invalid"))
        self.assertEqual(self.board.counter, 3)


class VisitTests(DemoCase):
    """What workers tell the core."""

    def test_a_client_cannot_tell(self) -> None:
        """What a worker forwards names the client it is forwarded for."""
        for name in ("Forwarded", "X-Forwarded-For"):
            self.text(
                self.core.post(
                    "http://demo.invalid/visits",
                    json=visit(0),
                    headers={name: "for=192.0.2.1"},
                ),
                403,
            )
        self.assertEqual(self.board.snapshot()["visits"], [])

    def test_a_worker_gets_the_board(self) -> None:
        """Its own visit included."""
        text = self.text(self.core.post("http://demo.invalid/visits", json=visit(3)))
        [latest] = json.loads(text)["visits"]
        self.assertEqual((latest["slot"], latest["number"]), (3, 1))

    def test_shares_add_up(self) -> None:
        self.board.add(visit(1, times=3))
        self.board.add(visit(0))
        self.assertEqual(
            self.board.snapshot()["shares"],
            [
                {"slot": 0, "times": 1, "percent": 25},
                {"slot": 1, "times": 3, "percent": 75},
            ],
        )

    def test_only_the_latest_are_kept(self) -> None:
        for _ in range(core.VISITS_KEPT + 5):
            self.board.add(visit(0))
        visits = cast("list[dict[str, object]]", self.board.snapshot()["visits"])
        self.assertEqual(len(visits), core.VISITS_KEPT)
        self.assertEqual(visits[0]["number"], core.VISITS_KEPT + 5)


class StreamTests(DemoCase):
    """A page that follows the board."""

    def setUp(self) -> None:
        super().setUp()
        self.received = bytearray()
        self.lost = False
        answer = self.core.get("http://demo.invalid/events", unbuffered=True)
        self.response = self.successResultOf(answer)
        self.ended = self.response.collect(self.received.extend)
        [self.pump] = self.core._agent._pumps
        self.channel = self.pump.server._channel
        self.addCleanup(self.assertNoTimers)

    def assertNoTimers(self) -> None:
        """No timer survives the stream."""
        if self.board.streams:
            self.pump.server.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.board.streams, set())
        self.assertEqual(self.clock(self.core).getDelayedCalls(), [])

    def events(self, seconds: float = 0.0) -> list[str]:
        """Let time pass; return what arrived meanwhile."""
        self.clock(self.core).advance(seconds)
        self.core.flush()
        text = self.received.decode()
        self.received.clear()
        return text.split("\n\n")[:-1]

    def counters(self, seconds: float = 0.0) -> list[int]:
        """Return the counter in each board that arrived."""
        return [
            json.loads(event.partition("data: ")[2])["counter"]
            for event in self.events(seconds)
        ]

    def test_it_is_a_producer(self) -> None:
        verifyClass(IPushProducer, core.Stream)

    def test_it_begins_with_the_board(self) -> None:
        self.assertEqual(
            self.response.headers.getRawHeaders("Content-Type"), ["text/event-stream"]
        )
        self.assertEqual(self.counters(), [0])

    def test_changes_that_follow_at_once_are_one(self) -> None:
        self.events()
        self.board.count()
        self.board.count()
        self.assertEqual(self.counters(core.SETTLING_TIME), [2])
        self.board.count()
        self.assertEqual(self.counters(core.SETTLING_TIME), [3])

    def test_a_slow_page_costs_no_memory(self) -> None:
        """Nothing is written for it, and later only the board as it is then."""
        self.events()
        self.board.count()
        self.channel.pauseProducing()
        for _ in range(50):
            self.board.count()
            self.assertEqual(self.counters(core.SETTLING_TIME), [])
        self.channel.resumeProducing()
        self.assertEqual(self.counters(core.SETTLING_TIME), [51])

    def test_visits_are_changes(self) -> None:
        self.events()
        self.board.add(visit(3))
        [event] = self.events(core.SETTLING_TIME)
        self.assertIn('"slot": 3', event)

    def test_a_page_that_missed_nothing_is_sent_nothing(self) -> None:
        self.board.count()
        self.events(core.SETTLING_TIME)
        self.channel.pauseProducing()
        self.channel.resumeProducing()
        self.assertEqual(self.events(core.SETTLING_TIME), [])

    def test_silence_is_broken(self) -> None:
        """By a comment (HTML, section 9.2.6), unless the page takes nothing."""
        self.events()
        self.assertEqual(self.events(core.HEARTBEAT), [": still here"])

    def test_a_slow_page_gets_no_heartbeat(self) -> None:
        self.events()
        self.channel.pauseProducing()
        self.assertEqual(self.events(core.HEARTBEAT), [])

    def test_a_page_that_goes_leaves_nothing(self) -> None:
        self.board.count()
        self.pump.server.connectionLost(Failure(ConnectionDone()))
        self.assertNoTimers()

    def test_there_are_only_so_many(self) -> None:
        self.patch(demo, "STREAMS_ALLOWED", 1)
        self.text(self.core.get("http://demo.invalid/events"), 503)

    def test_head_is_answered_at_once(self) -> None:
        """It has no body to wait for, and the connection serves on."""
        wire = on_the_wire(demo.app.core, b"HEAD /events", b"GET /counter")
        self.assertIn(b"counter 0, core pid", wire)
