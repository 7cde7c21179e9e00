"""Signals that arrive while their operation cannot be started, and wait for it."""

from collections import deque
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from clusterapp.errors import BusyError, OperationError
from clusterapp.operations import OperationResult, Tell

#: Starts an operation.
Begin = Callable[[Tell], Deferred[OperationResult]]

#: Signals of which at most one waits: the result of a reload or an upgrade is as new
#: as that of several.
_ONCE = frozenset({"SIGHUP", "SIGUSR2"})

#: The most waiting signals of other kinds.
_MOST = 32


class RememberedSignals:
    """
    Starts the operation of each signal, at once or when the one under way has ended.

    Unlike a client of the control API, the sender of a signal gets no answer, and
    so could not retry.

    :param can_begin: returns whether an operation can be started now.
    """

    _log = Logger()

    def __init__(self, can_begin: Callable[[], bool]) -> None:
        self._can_begin = can_begin
        self._waiting: deque[tuple[str, Begin]] = deque()

    def received(self, name: str, begin: Begin) -> None:
        """
        Start the operation of a signal, or queue it.

        :param name: the signal's name.
        :param begin: starts the operation.
        """
        self._log.info("{name} received", name=name)
        self._begin(name, begin)

    def go_on(self) -> None:
        """Start the operations that wait, in their order, as far as possible now."""
        while self._waiting and self._can_begin():
            self._begin(*self._waiting.popleft())

    def forget(self) -> None:
        """Drop all waiting signals: the master stops, or another has taken over."""
        self._waiting.clear()

    def _begin(self, name: str, begin: Begin) -> None:
        try:
            begin(lambda _: None)
        except BusyError as error:
            self._remember(name, begin, error)
        except OperationError as error:
            self._log.error("{name}: {error}", name=name, error=error)

    def _remember(self, name: str, begin: Begin, error: BusyError) -> None:
        same = sum(known == name for known, _ in self._waiting)
        if len(self._waiting) < _MOST and not (same and name in _ONCE):
            self._waiting.append((name, begin))
        self._log.info("{name}: {error}; done afterwards", name=name, error=error)
