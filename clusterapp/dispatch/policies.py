"""Policies: the choice of the worker for a connection that the master has accepted."""

from collections.abc import Sequence
from typing import Protocol, TypeVar


class Target(Protocol):
    """A worker that can be chosen."""

    @property
    def waiting(self) -> int:
        """The number of connections sent to the worker and not received yet."""

    @property
    def open(self) -> int:
        """The number of open connections."""


TargetT = TypeVar("TargetT", bound=Target)


class Policy(Protocol):
    """A policy that chooses a worker for each connection."""

    def choose(self, targets: Sequence[TargetT]) -> TargetT | None:
        """
        Return the worker for the next connection.

        :param targets: the workers that accept connections, in the order of slots.
        :return: None if all workers have as many connections waiting as allowed.
        """


class RoundRobin:
    """
    Round robin: the workers in turn.

    :param most: the most connections that wait for a worker; a worker that has as many,
        because it is not receiving them, is skipped.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._turn = 0

    def choose(self, targets: Sequence[TargetT]) -> TargetT | None:
        """Return the next worker in turn."""
        for _ in targets:
            self._turn += 1
            target = targets[self._turn % len(targets)]
            if target.waiting < self._most:
                return target
        return None


class LeastConnections:
    """
    Least connections: the worker with the fewest; of equal ones, in turn.

    :param most: the most connections that wait for a worker.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._turn = 0

    def choose(self, targets: Sequence[TargetT]) -> TargetT | None:
        """Return a worker with the fewest connections, open and waiting ones."""
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
