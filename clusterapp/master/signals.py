"""What the operator's signals mean to a master."""

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

from twisted.application.service import Service
from twisted.logger import Logger

#: Seconds in which a second signal is the first one, sent twice.
SAME_SIGNAL = 0.5


class Signals(Service):
    """
    Turn signals into orders while the program runs.

    TERM and INT stop gracefully, a second one quickly; QUIT stops quickly. One that
    follows at once is taken for the first: timeout(1), and a terminal whose shell
    passes signals on, send everything twice. USR1 means that log files were renamed.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        stop: Callable[[], None],
        drop: Callable[[], None],
        reopen_logs: Callable[[], None],
    ) -> None:
        """
        Take note of what the signals are to do.

        :param reactor: the program's reactor.
        :param stop: begins to stop gracefully.
        :param drop: ends all children at once.
        :param reopen_logs: opens the files of logs anew.
        """
        self._reactor = reactor
        self._stop = stop
        self._drop = drop
        self._reopen_logs = reopen_logs
        self._stopping_since: float | None = None

    def startService(self) -> None:
        """Listen to signals as soon as the reactor runs."""
        super().startService()
        # The reactor installs its own first, which would end with the signal.
        self._reactor.callWhenRunning(self._install)

    def _install(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            signal.signal(
                number, lambda got, _: self._reactor.callFromThread(self._heard, got)
            )
        # twistd has a handler of its own if it writes a log file.
        before = signal.getsignal(signal.SIGUSR1)

        def renamed(number: int, frame: FrameType | None) -> None:
            self._reactor.callFromThread(self._renamed)
            if callable(before):
                before(number, frame)

        signal.signal(signal.SIGUSR1, renamed)

    def _renamed(self) -> None:
        self._log.info("SIGUSR1: reopening logs")
        self._reopen_logs()

    def _heard(self, number: int) -> None:
        name = signal.Signals(number).name
        now, since = self._reactor.seconds(), self._stopping_since
        if since is None:
            self._stopping_since = now
            self._log.info("{name}: stopping", name=name)
            self._stop()
        elif now - since < SAME_SIGNAL and number != signal.SIGQUIT:
            return
        if since is not None or number == signal.SIGQUIT:
            self._log.warn("{name}: stopping quickly", name=name)
            self._drop()
