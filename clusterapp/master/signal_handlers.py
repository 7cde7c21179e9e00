"""The signal handlers of a master."""

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

from twisted.application.service import Service
from twisted.logger import Logger

from clusterapp.guards import guarded
from clusterapp.master.service import ClusterService

#: Seconds within which a second signal is regarded as a duplicate of the first.
SAME_SIGNAL = 0.5


class Signals(Service):
    """
    Handles the operator's signals while the program runs.

    TERM and INT stop gracefully, a second one quickly; QUIT stops quickly. One that
    follows at once is regarded as a duplicate: timeout(1), and a terminal whose shell
    passes signals on, send everything twice. HUP reloads, USR2 upgrades, TTIN and
    TTOU add and remove a worker. USR1 means that log files were renamed.
    """

    _log = Logger()

    def __init__(
        self, reactor: Any, cluster: ClusterService, stop: Callable[[], None]
    ) -> None:
        """
        Store what the handlers need; none is installed yet.

        :param reactor: the program's reactor.
        :param cluster: the cluster that the signals are for.
        :param stop: starts a graceful stop of the program.
        """
        self._reactor = reactor
        self._cluster = cluster
        self._stop = stop
        self._stopping_since: float | None = None

    def startService(self) -> None:
        """Install the handlers as soon as the reactor runs."""
        super().startService()
        # After the reactor's own handlers, by which the program ends with the signal.
        self._reactor.callWhenRunning(self._install)

    def _install(self) -> None:
        operations = self._cluster.operations
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            self._on(number, self._received, number)
        for number, begin in (
            (signal.SIGHUP, operations.reload),
            (signal.SIGUSR2, operations.upgrade),
            (signal.SIGTTIN, lambda tell: operations.scale_by(1, tell)),
            (signal.SIGTTOU, lambda tell: operations.scale_by(-1, tell)),
        ):
            self._on(number, operations.by_signal, number.name, begin)
        # twistd has a handler of its own if it writes a log file: call it, too.
        before = signal.getsignal(signal.SIGUSR1)

        def renamed(number: int, frame: FrameType | None) -> None:
            self._reactor.callFromThread(self._renamed)
            if callable(before):
                before(number, frame)

        signal.signal(signal.SIGUSR1, renamed)

    def _on(
        self, number: signal.Signals, call: Callable[..., object], *arguments: object
    ) -> None:
        guard = guarded(f"handle {number.name}")
        signal.signal(
            number, lambda *_: self._reactor.callFromThread(guard(call), *arguments)
        )

    @guarded("reopen the logs")
    def _renamed(self) -> None:
        self._log.info("SIGUSR1: reopening logs")
        self._cluster.reopen_logs()

    def _received(self, number: signal.Signals) -> None:
        name = number.name
        now, since = self._reactor.seconds(), self._stopping_since
        if since is None:
            self._stopping_since = now
            self._log.info("{name}: stopping", name=name)
            self._stop()
        elif now - since < SAME_SIGNAL and number != signal.SIGQUIT:
            return
        if since is not None or number == signal.SIGQUIT:
            self._log.warn("{name}: stopping quickly", name=name)
            self._cluster.drop_children()
