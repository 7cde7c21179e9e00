"""What the operator's signals mean to a master."""

import signal
from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.logger import Logger


class Signals(Service):
    """
    Turn signals into orders while the program runs.

    TERM and INT stop gracefully, a second one quickly; QUIT stops quickly.
    """

    _log = Logger()

    def __init__(
        self, reactor: Any, stop: Callable[[], None], stop_quickly: Callable[[], None]
    ) -> None:
        """
        Take note of what the signals are to do.

        :param reactor: the program's reactor.
        :param stop: begins to stop gracefully.
        :param stop_quickly: ends all children at once.
        """
        self._reactor = reactor
        self._stop = stop
        self._stop_quickly = stop_quickly
        self._stopping = False

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

    def _heard(self, number: int) -> None:
        name = signal.Signals(number).name
        quickly = self._stopping or number == signal.SIGQUIT
        self._log.info(
            "{name}: stopping {how}",
            name=name,
            how="quickly" if quickly else "gracefully",
        )
        if quickly:
            self._stop_quickly()
        if not self._stopping:
            self._stopping = True
            self._stop()
