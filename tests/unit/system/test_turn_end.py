"""Calls at the end of a turn of an event loop."""

from functools import partial
from typing import TYPE_CHECKING

from twisted.trial.unittest import SynchronousTestCase

from clusterapp.system.turn_end import TurnEnd

if TYPE_CHECKING:
    from collections.abc import Callable


class TurnEndTests(SynchronousTestCase):
    """One entry in the loop for all calls of a turn."""

    def setUp(self) -> None:
        self.scheduled: list[Callable[[], None]] = []
        self.turn_end = TurnEnd(self.scheduled.append)
        self.did: list[int] = []

    def end(self) -> None:
        """Run what the loop was given."""
        scheduled = list(self.scheduled)
        self.scheduled.clear()
        for each in scheduled:
            each()

    def test_calls(self) -> None:
        """They are called once, in their order, by one entry."""
        for number in range(3):
            self.turn_end.add(partial(self.did.append, number))
        self.assertEqual((len(self.scheduled), self.did), (1, []))
        self.end()
        self.assertEqual(self.did, [0, 1, 2])
        self.end()
        self.assertEqual(self.did, [0, 1, 2])

    def test_added_at_the_end(self) -> None:
        """A call that is added by another one belongs to the next turn."""
        self.turn_end.add(lambda: self.turn_end.add(lambda: self.did.append(1)))
        self.end()
        self.assertEqual((len(self.scheduled), self.did), (1, []))
        self.end()
        self.assertEqual(self.did, [1])

    def test_exception(self) -> None:
        """An exception is logged, and ends nothing else."""

        def fail() -> None:
            raise ZeroDivisionError

        self.turn_end.add(fail)
        self.turn_end.add(lambda: self.did.append(1))
        self.end()
        self.assertEqual(self.did, [1])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
