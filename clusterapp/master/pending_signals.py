"""What signals have asked for while a master could not do it."""

from collections import deque
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from clusterapp.errors import BusyError, OperationError
from clusterapp.operations import Tell, Verdict

#: Begins an operation.
Begin = Callable[[Tell], Deferred[Verdict]]

#: Signals of which one waits at most: what follows a reload or an upgrade is as new as
#: what follows several.
_ONCE = frozenset({"SIGHUP", "SIGUSR2"})

#: How many signals of other kinds wait at most.
_MOST = 32


class RememberedSignals:
    """
    Begins the operation of each signal, at once or when the one under way has ended.

    Unlike a client of the control API, whoever sends a signal is told nothing, and
    could not ask again.

    :param can_begin: tells whether an operation can be begun now.
    """

    _log = Logger()

    def __init__(self, can_begin: Callable[[], bool]) -> None:
        self._can_begin = can_begin
        self._waiting: deque[tuple[str, Begin]] = deque()

    def received(self, name: str, begin: Begin) -> None:
        """
        Begin the operation of a signal, or remember it.

        :param name: the signal's name.
        :param begin: begins the operation.
        """
        self._log.info("{name} received", name=name)
        self._begin(name, begin)

    def go_on(self) -> None:
        """Begin what waits first, if that can be done now."""
        while self._waiting and self._can_begin():
            self._begin(*self._waiting.popleft())

    def forget(self) -> None:
        """Remember nothing: the master stops, or another has taken over."""
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
