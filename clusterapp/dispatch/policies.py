"""Policies: which worker gets the next connection that the master has accepted."""

from collections.abc import Sequence
from typing import Protocol, TypeVar


class Target(Protocol):
    """A worker that can be chosen."""

    @property
    def waiting(self) -> int:
        """How many connections were sent to it that it has not received yet."""

    @property
    def open(self) -> int:
        """How many it has."""


TargetT = TypeVar("TargetT", bound=Target)


class Policy(Protocol):
    """A way to choose."""

    def choose(self, targets: Sequence[TargetT]) -> TargetT | None:
        """
        Choose who gets the next connection.

        :param targets: the workers that take any, in the order of their slots.
        :return: None if all of them have as many waiting as they may.
        """


class RoundRobin:
    """
    One after the other.

    :param most: how many may wait for a worker; one that does not come to them is
        passed over.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._turn = 0

    def choose(self, targets: Sequence[TargetT]) -> TargetT | None:
        """Choose the next one."""
        for _ in targets:
            self._turn += 1
            target = targets[self._turn % len(targets)]
            if target.waiting < self._most:
                return target
        return None


class LeastConnections:
    """
    The one that has the fewest; of several, one after the other.

    :param most: how many may wait for a worker.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._turn = 0

    def choose(self, targets: Sequence[TargetT]) -> TargetT | None:
        """Choose one that has the fewest, those that wait for it included."""
        self._turn += 1
        chosen, least = None, 0
        for number in range(len(targets)):
            target = targets[(self._turn + number) % len(targets)]
            waiting = target.waiting
            if waiting < self._most:
                load = waiting + target.open
                if chosen is None or load < least:
                    chosen, least = target, load
        return chosen
