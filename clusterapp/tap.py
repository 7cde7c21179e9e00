"""``twistd clusterapp``: the composition root, from command line to running program."""

import atexit
import fcntl
import logging
import os
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ReactorNotRunning

from clusterapp.channel.bootstrap import DEMO
from clusterapp.errors import ClusterError
from clusterapp.private_names.cpython import RUN_EXIT_FUNCTIONS
from clusterapp.settings import command_line
from clusterapp.settings.option_types import OFF
from clusterapp.system.clock import make_monotonic
from clusterapp.system.regular import from_start_folder, set_start_folder
from clusterapp.system.titles import set_title
from clusterapp.terminal import (
    REPORTED,
    Terminal,
    check_paths,
    print_error,
    report_start_plainly,
    start_error,
)

if TYPE_CHECKING:
    from clusterapp.control.control_socket import ControlService
    from clusterapp.logs.program import ProgramLog
    from clusterapp.master.upgrade.new_master import Command

__all__ = ["Options", "makeService"]

#: The default log file of twistd's daemons.
_LOG_FILE = "twistd.log"


class Options(command_line.SettingsOptions):
    """The command-line options; ``--check-config`` runs when they have been parsed."""

    def postOptions(self) -> None:
        """
        Check the configuration if requested, before twistd reads pid file or log.

        So the check can be done beside a running cluster.
        """
        super().postOptions()
        check_paths(self.parent or {})
        if not self["check-config"]:
            return
        from twisted.internet import reactor  # noqa: PLC0415

        from clusterapp.master.check_config import check_config  # noqa: PLC0415

        try:
            sys.stdout.write(check_config(reactor, self.settings))
        except ClusterError as error:
            print_error(error, sys.stderr)
            raise SystemExit(error.exit_status) from None
        raise SystemExit(0)


def makeService(options: Options) -> MultiService:
    """
    Create the service that twistd and twist run; nothing is bound or started yet.

    :param options: the parsed command line.
    """
    # twistd has installed its reactor by now.
    from twisted.internet import reactor  # noqa: PLC0415

    make_monotonic(reactor)
    report_start_plainly()
    return Program(reactor, options)


class Program(MultiService):
    """A master as a program of its own, which handles signals and its exit status."""

    def __init__(self, reactor: Any, options: Options) -> None:
        """
        Create the services of the program.

        :param reactor: the program's reactor.
        :param options: the parsed command line; its parent is that of twistd or twist.
        """
        # After twistd's reactor is installed: importing Klein installs one otherwise.
        from clusterapp.listening.listen_sockets import first_environment  # noqa: PLC0415
        from clusterapp.master.rollout.auto_reload import Developing  # noqa: PLC0415
        from clusterapp.master.service import ClusterService  # noqa: PLC0415
        from clusterapp.master.signal_handlers import Signals  # noqa: PLC0415
        from clusterapp.master.systemd_notify import Notifying  # noqa: PLC0415
        from clusterapp.master.upgrade.new_master import VARIABLE, InheritedState  # noqa: PLC0415
        from clusterapp.master.upgrade.upgrade import Upgrading  # noqa: PLC0415
        from clusterapp.master.workers.orphan_reaper import ZombieReaper  # noqa: PLC0415
        from clusterapp.systemd import Notifier, watchdog_interval  # noqa: PLC0415

        super().__init__()
        self._reactor = reactor
        self._settings = options.settings
        self._twistd: MutableMapping[str, Any] = options.parent or {}
        # Copied before any application is imported, which may change the environment.
        self._environ = {**options.environ}
        self._environ.pop(VARIABLE, None)
        self._inherited = InheritedState.from_environ(os.environ)
        self._control: ControlService | None = None
        self._log: ProgramLog | None = None
        # The absolute paths of twistd's log file and of its pid file, if it has one.
        self._log_path = self._pid_file = ""
        self._terminal = Terminal.of_daemon(self._twistd)
        #: The pipe on which a daemon's parent process waits for the end of the start.
        self._command_waits: int | None = None
        self._exit_status = 0
        environ = first_environment()
        self._notifier = Notifier.from_environment(environ)
        self._cluster = cluster = ClusterService(
            options.settings,
            reactor=reactor,
            on_failure=self._failed,
            origins=options.origins,
            choose=options.resolve,
            stop=self._stop,
            environ=self._environ,
            upgrading=Upgrading(
                self._inherited, self._on_active, self._command(options)
            ),
        )
        Signals(reactor, cluster, self._stop).setServiceParent(self)
        if os.getpid() == 1:
            ZombieReaper(reactor).setServiceParent(self)
        cluster.setServiceParent(self)
        self._notifying = Notifying(
            reactor,
            self._notifier,
            cluster,
            # systemd's WATCHDOG_PID names the first master; later ones send as well.
            watchdog_interval(
                environ, None if self._inherited is not None else os.getpid()
            ),
        )
        if self._inherited is None:
            # A new master sends no notifications before it has taken over.
            self._notifying.setServiceParent(self)
        if options.settings.reload:
            Developing(reactor, cluster).setServiceParent(self)

    def setServiceParent(self, parent: Any) -> None:
        """Attach to the application that twistd runs, before its logger has started."""
        from clusterapp.http.application.current_request import request_under_way  # noqa: PLC0415
        from clusterapp.logs.captured_logs import (  # noqa: PLC0415
            capture_exceptions,
            capture_logging,
        )
        from clusterapp.logs.program import log_with_twistd  # noqa: PLC0415

        reactor = self._reactor
        # Before the threads of the reactor's pool are joined, in the same phase.
        reactor.addSystemEventTrigger("during", "shutdown", self._watch_exit)
        later = partial(reactor.callFromThread, reactor.callLater)
        self._log = log = log_with_twistd(
            parent, self._twistd, later, request_under_way
        )
        if log is not None:
            log.upgrading = self._inherited is not None
            capture_logging()
            capture_exceptions()
            reactor.addSystemEventTrigger("after", "shutdown", log.flush)
        super().setServiceParent(parent)

    def privilegedStartService(self) -> None:
        """Bind the sockets; an error exits the program with one line."""
        # Now, since the working folder may be removed, and made anew, later.
        from clusterapp.master.rollout.generation import logical_folder  # noqa: PLC0415

        set_start_folder(logical_folder(self._environ))
        self._log_path = os.path.realpath(self._twistd.get("logfile") or _LOG_FILE)
        pid_file = self._twistd.get("pidfile")
        self._pid_file = str(Path(pid_file).absolute()) if pid_file else ""
        self._share_log()
        with self._ending_clearly():
            super().privilegedStartService()
        self._capture_output()

    def _capture_output(self) -> None:
        """Log warnings and prints of an application whose core runs in this process."""
        if self._log is None:
            return
        from clusterapp.logs.captured_logs import capture_warnings  # noqa: PLC0415
        from clusterapp.logs.program import capture_streams  # noqa: PLC0415

        capture_warnings()
        capture_streams()

    def startService(self) -> None:
        """Start the cluster; an error exits the program with one line."""
        with self._ending_clearly():
            set_title(f"master {self._settings.app or DEMO}")
            super().startService()
            # A core's start hooks may have stopped it already.
            if self._cluster.running:
                self._bind_control(replace=self._inherited is not None)
                if self._inherited is None:
                    self._open_control()
        # Otherwise twistd would report a successful start to its parent now.
        self._command_waits = self._twistd.pop("statusPipe", None)
        self._cluster.watch(self._release_command)
        self._release_command()

    def _release_command(self) -> None:
        """Make the daemon's parent process exit with 0 once the cluster is ready."""
        if self._command_waits is None:
            self._terminal.close()
        elif self._cluster.service_status().ready:
            self._end_command(b"0")

    def _end_command(self, text: bytes) -> None:
        status, self._command_waits = self._command_waits, None
        if status is not None:
            with suppress(OSError):  # the parent process has exited
                os.write(status, text)
            os.close(status)
        self._terminal.close()

    async def _stop_all(self) -> None:
        """Stop the control socket last, so that a client's stop request is answered."""
        await cast("Deferred[None]", super().stopService())
        if self._control is not None:
            await maybeDeferred(self._control.stopService)

    def stopService(self) -> Deferred[None]:
        """Stop the cluster; fires when all of it has stopped."""
        return Deferred.fromCoroutine(self._stop_all())

    def _bind_control(self, *, replace: bool) -> None:
        """
        Bind the control socket, before an older master hands over to this one.

        :param replace: whether to replace the path if another master has it.
        :raise ListenError: if it cannot be bound.
        """
        from clusterapp.control.control_socket import ControlService  # noqa: PLC0415

        chosen = self._settings.control
        if chosen == OFF:
            return
        sockets = self._cluster.sockets
        path = from_start_folder(chosen) if chosen else sockets.control()
        control = ControlService(
            self._reactor, self._cluster.operations, path, replace=replace
        )
        control.bind()
        self._control = control

    def _open_control(self) -> None:
        """Accept operators' connections on the control socket."""
        if self._control is None:
            return
        self._control.startService()
        chosen = self._settings.control
        if chosen is not None:
            # clusterctl looks in the default place if it is given no path.
            usual = self._cluster.sockets.control()
            Path(usual).symlink_to(Path(from_start_folder(chosen)).absolute())
        self._cluster.sockets.hold_control()

    def _command(self, options: Options) -> "Command | None":
        """Return how to start the next master; None if it cannot be started."""
        from clusterapp.master.rollout.generation import logical_folder  # noqa: PLC0415
        from clusterapp.master.upgrade.new_master import Command  # noqa: PLC0415

        twistd = self._twistd
        if any(twistd.get(name) for name in ("uid", "gid", "chroot")):
            return None
        # The arguments before the name of our command are twistd's own.
        end = len(sys.orig_argv) - len(options.arguments) - 1
        before, after = sys.orig_argv[1:end], sys.orig_argv[end:]
        overridden = []
        if "nodaemon" in twistd and self._inherited is None:
            overridden += ["--nodaemon", "--pidfile="]
            if not twistd["nodaemon"] and not twistd["syslog"]:
                # A daemon has no stdout to log to.
                overridden += [f"--logfile={twistd['logfile'] or _LOG_FILE}"]
        return Command(
            arguments=(sys.executable, *before, *overridden, *after),
            folder=logical_folder(self._environ),
            environment=self._environ,
            prepare=self._share_log,
            handed_over=self._handed_over,
        )

    def _share_log(self) -> None:
        """Append to the log file, since another master may write to it, too."""
        for descriptor in Path("/proc/self/fd").iterdir():
            with suppress(FileNotFoundError):  # the descriptor of this listing itself
                if str(descriptor.readlink()) == self._log_path:
                    # Twisted writes at its old offset otherwise (open(2), O_APPEND).
                    number = int(descriptor.name)
                    flags = fcntl.fcntl(number, fcntl.F_GETFL)
                    fcntl.fcntl(number, fcntl.F_SETFL, flags | os.O_APPEND)

    def _handed_over(self, pid: int) -> str:
        """Called when a new master has taken over: return the pid file, now its own."""
        self._notifier.main_pid(pid)
        # twistd removes the pid file at exit, and reads its path from here.
        self._twistd["pidfile"] = ""
        return self._pid_file

    def _on_active(self, pid_file: str) -> None:
        """Called when this master has taken over: adopt pid file and control socket."""
        if self._log is not None:
            self._log.upgrading = False
        if pid_file:
            self._twistd["pidfile"] = self._pid_file = pid_file
            _write_whole(Path(pid_file), str(os.getpid()))
        self._open_control()
        self._notifying.setServiceParent(self)

    @contextmanager
    def _ending_clearly(self) -> Iterator[None]:
        try:
            yield
        except (ClusterError, OSError) as problem:
            error = (
                problem if isinstance(problem, ClusterError) else start_error(problem)
            )
            # First, since the command then ends, and its caller may look at the log.
            print_error(error, sys.stderr)
            self._tell_twistd(error)
            if self._inherited is not None:
                self._inherited.upgrade_failed(str(error))
            raise SystemExit(error.exit_status) from None

    def _tell_twistd(self, error: ClusterError) -> None:
        """Remove the pid file and notify the parent, as twistd does at errors."""
        status = self._twistd.get("statusPipe")
        self._remove_pid_file()
        if status is not None:
            # A daemon's parent waits for this, without timeout; it reads 100 bytes.
            reported = self._terminal.tell(error)
            text = f"1 {REPORTED if reported else error}"
            os.write(status, text.encode("ascii", "backslashreplace")[:100])

    def _remove_pid_file(self) -> None:
        # twistd reads the path from here when it removes the file at exit.
        if pid_file := self._twistd.get("pidfile"):
            self._twistd["pidfile"] = ""
            Path(pid_file).unlink(missing_ok=True)

    def _failed(self, error: ClusterError) -> None:
        if self._command_waits is not None:
            self._remove_pid_file()  # before the command ends, which says so
            reported = self._terminal.tell(error)
            text = f"1 {REPORTED if reported else error}"
            self._end_command(text.encode("ascii", "backslashreplace")[:100])
        self._exit_status = error.exit_status
        # twistd exits with status 0 whenever the reactor was stopped.
        atexit.register(_exit, error.exit_status)
        self._reactor.callWhenRunning(self._stop)

    def _watch_exit(self) -> None:
        """Called when the cluster has stopped: the program has to exit soon."""
        from clusterapp.master.exit_watch import watch_exit  # noqa: PLC0415

        watch_exit(self._cluster.exit_seconds, self._end_now, self._log)

    def _end_now(self) -> None:
        """End the process without joining anything; called in another thread."""
        try:
            if self._log is not None:
                self._log.flush()
            self._remove_pid_file()
        finally:
            os._exit(self._exit_status)

    def _stop(self) -> None:
        with suppress(ReactorNotRunning):  # already stopping
            self._reactor.stop()


_run_exit_functions = RUN_EXIT_FUNCTIONS.value or logging.shutdown


def _write_whole(path: Path, text: str) -> None:
    """Replace a file atomically, so that no reader finds it half written."""
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    beside.write_text(text, "ascii")
    beside.replace(path)


def _exit(status: int) -> None:
    # Exit functions registered earlier run after this one, and os._exit skips them.
    atexit.unregister(_exit)
    _run_exit_functions()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
