"""The demo site: its streams, for pages that follow the board."""

import json

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from zope.interface.verify import verifyClass

from clusterapp import demo
from clusterapp.demo import core
from tests.unit.demo.demonstrating import DemoCase, on_the_wire, visit


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
        """Advance the clock; return the events received meanwhile."""
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
