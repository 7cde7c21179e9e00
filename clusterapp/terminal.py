"""Error messages on the terminal of the command that starts a master."""

import errno
import os
import resource
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from twisted.python.util import untilConcludes

from clusterapp.errors import ApplicationLoadError, ClusterError
from clusterapp.private_names.reactors import replace_start_waiter
from clusterapp.system.regular import check_writable

#: The error that twistd's command prints after one that was printed in full.
REPORTED = "the start has failed, as said above"

#: The seconds that an error waits for a reader of the terminal that stands still.
_TIMEOUT = 1.0


class Terminal:
    """
    The stderr that a daemon's command was started with, until the start is complete.

    twistd closes it in the daemon before the service is started, and passes on at most
    100 bytes of an error.

    :param stderr: a duplicate of it; None if there is none.
    """

    def __init__(self, stderr: TextIO | None) -> None:
        self._stderr = stderr

    @classmethod
    def of_daemon(cls, twistd: Mapping[str, Any]) -> "Terminal":
        """
        Duplicate the stderr of this process, if it is to become a daemon.

        :param twistd: the options of twistd.
        """
        # If it was closed, its number may belong to another file by now.
        if twistd.get("nodaemon", True) or sys.__stderr__ is None:
            return cls(None)
        try:
            descriptor = os.dup(sys.__stderr__.fileno())
        except OSError:  # closed after Python has started
            return cls(None)
        return cls(os.fdopen(descriptor, "w", errors="backslashreplace"))

    def tell(self, error: ClusterError) -> bool:
        """Print an error; return whether that was possible, without waiting long."""
        stderr = self._stderr
        if stderr is None:
            return False
        reported = threading.Event()

        def tell() -> None:
            with suppress(OSError):  # no reader
                print_error(error, stderr)
                stderr.flush()
                reported.set()

        # The descriptor is shared with the command, so it must stay blocking.
        thread = threading.Thread(target=tell, name="terminal", daemon=True)
        thread.start()
        thread.join(_TIMEOUT)
        if thread.is_alive():
            self._stderr = None  # closing it would wait for the thread
        return reported.is_set()

    def close(self) -> None:
        """Close the descriptor, so that readers of the command's stderr see its end."""
        if self._stderr is not None:
            with suppress(OSError):  # earlier output could not be written
                self._stderr.close()
            self._stderr = None


def report_start_plainly() -> None:
    """
    Make twistd's command print the error of its daemon as text.

    Twisted prints the ``repr`` of its bytes.
    """
    replace_start_waiter(_wait_for_start)


def _wait_for_start(_runner: object, pipe: int) -> int:
    """Wait for the end of the start in the daemon; return the command's exit status."""
    reported = untilConcludes(os.read, pipe, 100)
    if reported == b"0":
        return 0
    # A status and a space come before the error.
    error = reported[2:].decode("ascii", "replace") or "the daemon has ended"
    if sys.__stderr__ is not None:
        sys.__stderr__.write(f"clusterapp: {error}; the log file may say more\n")
        sys.__stderr__.flush()
    return 1


def start_error(error: OSError) -> ClusterError:
    """Return the error for a failed start, with the limit that was hit."""
    text = f"cannot start: {error}"
    if error.errno == errno.EMFILE:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        text += f"; this process may have {limit} (ulimit -n, LimitNOFILE=)"
    return ClusterError(text)


def check_paths(twistd: Mapping[str, Any]) -> None:
    """
    Check that twistd can write its log and its pid file.

    twistd itself would print a traceback.

    :param twistd: its options, or those of another program.
    :raise SystemExit: with the reason.
    """
    log = None if twistd.get("syslog") else twistd.get("logfile")
    folder = twistd.get("rundir") or ""
    pid_file = twistd.get("pidfile")
    for what, path in (
        ("the log (--logfile)", log if log not in {None, "-"} else None),
        ("the pid file (--pidfile)", pid_file and str(Path(folder, pid_file))),
    ):
        if path:
            try:
                check_writable(path)
            except OSError as error:
                raise SystemExit(
                    f"clusterapp: cannot write {what} {path}: {error.strerror}"
                ) from None


def print_error(error: ClusterError, stream: TextIO) -> None:
    """Print an error in a line, after the traceback of the application."""
    if isinstance(error, ApplicationLoadError) and error.traceback:
        print(error.traceback.rstrip(), file=stream)
    print(f"clusterapp: {error}", file=stream)
