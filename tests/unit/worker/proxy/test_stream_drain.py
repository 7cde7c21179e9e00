"""Responses of the core that do not end by themselves."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.worker.proxy.stream_drain import StreamDrain


class Body:
    """A body that is removed from the drain when it ends, as a real one is."""

    def __init__(self, stream_drain: StreamDrain) -> None:
        self.ended = 0
        self._endless = stream_drain

    def end(self) -> None:
        self.ended += 1
        self._endless.discard(self)


class EndlessTests(SynchronousTestCase):
    """Some bodies, on a clock that only the test moves."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.stream_drain = StreamDrain(self.clock)
        self.bodies = [Body(self.stream_drain) for _ in range(20)]
        for body in self.bodies:
            self.stream_drain.add(body)

    def ended(self) -> int:
        return sum(body.ended for body in self.bodies)

    def test_at_once(self) -> None:
        self.stream_drain.drain(0.0)
        self.assertEqual(self.ended(), 20)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_spread(self) -> None:
        """Each at a moment of its own."""
        self.stream_drain.drain(10.0)
        self.assertEqual(self.ended(), 0)
        self.clock.pump([0.5] * 10)
        self.assertTrue(0 < self.ended() < 20, self.ended())
        self.clock.pump([0.5] * 10)
        self.assertEqual(self.ended(), 20)

    def test_ended_by_themselves(self) -> None:
        """They are not ended again, and no timer is left."""
        self.stream_drain.drain(10.0)
        for body in self.bodies:
            self.stream_drain.discard(body)
        self.clock.advance(10)
        self.assertEqual(self.ended(), 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_those_that_begin_later(self) -> None:
        """A request under way may become one in the middle of a drain."""
        self.stream_drain.drain(0.0)
        late = Body(self.stream_drain)
        self.stream_drain.add(late)
        self.assertEqual(late.ended, 1)
