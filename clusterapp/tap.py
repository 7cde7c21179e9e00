"""``twistd clusterapp``: from a command line to a program that runs."""

import atexit
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.error import ReactorNotRunning

from clusterapp.clock import make_monotonic
from clusterapp.errors import ApplicationLoadError, ClusterError
from clusterapp.settings.options import Options

__all__ = ["Options", "makeService"]


def makeService(options: Options) -> MultiService:
    """
    Make the service that twistd and twist run; it binds and starts nothing yet.

    :param options: the parsed command line.
    """
    # By now twistd has chosen its reactor.
    from twisted.internet import reactor  # noqa: PLC0415

    make_monotonic(reactor)
    program = Program(reactor, options)
    if options["check-config"]:
        program.check()
    return program


class Program(MultiService):
    """A master that is a program of its own: signals and exit status are its own."""

    def __init__(self, reactor: Any, options: Options) -> None:
        """
        Put the program together.

        :param reactor: the program's reactor.
        :param options: the parsed command line, below that of the program that runs
            this one.
        """
        # Klein installs a reactor when it is imported, so it comes after twistd's.
        from clusterapp.master.service import ClusterService  # noqa: PLC0415
        from clusterapp.master.signals import Signals  # noqa: PLC0415
        from clusterapp.master.zombies import ZombieReaper  # noqa: PLC0415

        super().__init__()
        self._reactor = reactor
        self._settings = options.settings
        self._twistd: Mapping[str, Any] = options.parent or {}
        cluster = ClusterService(
            options.settings,
            reactor=reactor,
            on_failure=self._failed,
            origins=options.origins,
            choose=options.choose,
            stop=self._stop,
        )
        Signals(reactor, cluster, self._stop).setServiceParent(self)
        if os.getpid() == 1:
            ZombieReaper(reactor).setServiceParent(self)
        cluster.setServiceParent(self)

    def privilegedStartService(self) -> None:
        """Bind the sockets; what goes wrong ends the program in one line."""
        with self._ending_clearly():
            super().privilegedStartService()

    def startService(self) -> None:
        """Start the cluster; what goes wrong ends the program in one line."""
        with self._ending_clearly():
            super().startService()

    def check(self) -> None:
        """Read and load all that a start would, say how that went, and exit."""
        from clusterapp.web.hosting import check_tls  # noqa: PLC0415
        from clusterapp.web.loading import load  # noqa: PLC0415

        with self._ending_clearly():
            check_tls(self._reactor, self._settings)
            load(self._settings.app, self._settings.core_app, self._reactor)
        print("configuration ok")  # noqa: T201 - it is the command's answer
        raise SystemExit(0)

    @contextmanager
    def _ending_clearly(self) -> Iterator[None]:
        try:
            yield
        except ClusterError as error:
            self._tell_twistd(error)
            if isinstance(error, ApplicationLoadError) and error.traceback:
                print(error.traceback.rstrip(), file=sys.stderr)  # noqa: T201
            print(f"clusterapp: {error}", file=sys.stderr)  # noqa: T201
            raise SystemExit(error.exit_status) from None

    def _tell_twistd(self, error: ClusterError) -> None:
        """Do what twistd does when a start fails, but for exits in one line."""
        pid_file, status = self._twistd.get("pidfile"), self._twistd.get("statusPipe")
        if pid_file:
            Path(pid_file).unlink(missing_ok=True)
        if status is not None:
            # The parent of a daemon waits for this, for ever; it reads 100 bytes.
            os.write(status, f"1 {error}".encode("ascii", "backslashreplace")[:100])

    def _failed(self, error: ClusterError) -> None:
        # twistd knows no other status than 0 for a reactor that was stopped.
        atexit.register(_exit, error.exit_status)
        self._reactor.callWhenRunning(self._stop)

    def _stop(self) -> None:
        with suppress(ReactorNotRunning):  # it is stopping already
            self._reactor.stop()


def _exit(status: int) -> None:
    # What was registered before runs after this, and would not be reached.
    atexit.unregister(_exit)
    atexit._run_exitfuncs()  # noqa: SLF001 - the only way to have them run now
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
