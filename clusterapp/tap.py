"""``twistd clusterapp``: from a command line to a program that runs."""

import atexit
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.application.service import MultiService
from twisted.internet.error import ReactorNotRunning

from clusterapp.errors import ApplicationLoadError, ClusterError
from clusterapp.settings.options import Options

if TYPE_CHECKING:
    from clusterapp.settings.model import Settings

__all__ = ["Options", "makeService"]


def makeService(options: Options) -> MultiService:
    """
    Make the service that twistd and twist run; it binds and starts nothing yet.

    :param options: the parsed command line.
    """
    # By now twistd has chosen its reactor.
    from twisted.internet import reactor  # noqa: PLC0415

    program = Program(reactor, options.settings, _pid_file(options))
    if options["check-config"]:
        program.check()
    return program


class Program(MultiService):
    """A master that is a program of its own: signals and exit status are its own."""

    def __init__(
        self, reactor: Any, settings: "Settings", pid_file: Path | None
    ) -> None:
        """
        Put the program together.

        :param reactor: the program's reactor.
        :param settings: what the operator chose.
        :param pid_file: what twistd forgets to remove when a start fails.
        """
        # Klein installs a reactor when it is imported, so it comes after twistd's.
        from clusterapp.master.service import ClusterService  # noqa: PLC0415
        from clusterapp.master.signals import Signals  # noqa: PLC0415
        from clusterapp.master.zombies import ZombieReaper  # noqa: PLC0415

        super().__init__()
        self._reactor = reactor
        self._settings = settings
        self._pid_file = pid_file
        cluster = ClusterService(settings, reactor=reactor, on_failure=self._failed)
        Signals(reactor, self._stop, cluster.drop_children).setServiceParent(self)
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
        """Load the application as a worker would, say how that went, and exit."""
        from clusterapp.web.loading import load  # noqa: PLC0415

        with self._ending_clearly():
            load(self._settings.app, self._settings.core_app, self._reactor)
        print("configuration ok")  # noqa: T201 - it is the command's answer
        raise SystemExit(0)

    @contextmanager
    def _ending_clearly(self) -> Iterator[None]:
        try:
            yield
        except ClusterError as error:
            if self._pid_file is not None:
                with suppress(FileNotFoundError):
                    self._pid_file.unlink()
            if isinstance(error, ApplicationLoadError) and error.traceback:
                print(error.traceback.rstrip(), file=sys.stderr)  # noqa: T201
            print(f"clusterapp: {error}", file=sys.stderr)  # noqa: T201
            raise SystemExit(error.exit_status) from None

    def _failed(self, error: ClusterError) -> None:
        # twistd knows no other status than 0 for a reactor that was stopped.
        atexit.register(_exit, error.exit_status)
        self._reactor.callWhenRunning(self._stop)

    def _stop(self) -> None:
        with suppress(ReactorNotRunning):  # it is stopping already
            self._reactor.stop()


def _exit(status: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _pid_file(options: Options) -> Path | None:
    # twist knows no pid files, and a program of one's own has no such parent.
    name = options.parent.get("pidfile") if options.parent is not None else None
    return Path(name).absolute() if name else None
