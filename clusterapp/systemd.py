"""
What a service tells systemd of itself: sd_notify(3), in a few lines of our own.

Without a socket to tell it on, nothing happens.
"""

import socket
import time
from collections.abc import Mapping
from typing import Self

from twisted.logger import Logger

from clusterapp.settings.endpoint_syntax import decimal

#: systemd may be busy; what it is told must not be lost, nor the loop stand for long.
_PATIENCE = 1.0


class Notifier:
    """
    Tells systemd what the service does; what cannot be told is a warning, once.

    :param path: the datagram socket to tell it on: a path, or a name that begins
        with ``@``. None where nobody listens.
    """

    _log = Logger()

    def __init__(self, path: str | None) -> None:
        # An abstract name begins with a NUL in place of the @ (unix(7)).
        self._address = f"\0{path[1:]}" if path and path[0] == "@" else path
        self._path = path
        self._warned = False

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self:
        """Make the one that NOTIFY_SOCKET asks for."""
        return cls(environ.get("NOTIFY_SOCKET") or None)

    def ready(self) -> None:
        """Say that the start, or a reload, is over."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """Say that a reload begins; `ready` says that it is over."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._tell("RELOADING=1", f"MONOTONIC_USEC={now}")

    def stopping(self) -> None:
        """Say that the service begins to stop."""
        self._tell("STOPPING=1")

    def status(self, text: str) -> None:
        """Say in one line how the service is, for people."""
        self._tell(f"STATUS={' '.join(text.split())}")

    def main_pid(self, pid: int) -> None:
        """
        Say which process is the main one from now on.

        Where ``NotifyAccess=main``, only the one that was may say so, and only the
        new one is heard afterwards.
        """
        self._tell(f"MAINPID={pid}")

    def watchdog(self) -> None:
        """Say that the service's event loop turns."""
        self._tell("WATCHDOG=1")

    def _tell(self, *lines: str) -> None:
        if self._address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
                out.settimeout(_PATIENCE)
                out.sendto("\n".join(lines).encode(errors="replace"), self._address)
        except OSError as error:
            self._warn(error)

    def _warn(self, error: OSError) -> None:
        if self._warned:
            return
        self._warned = True
        self._log.warn(
            "cannot tell systemd anything on {path}: {error}",
            path=self._path,
            error=error,
        )


def watchdog_interval(environ: Mapping[str, str], pid: int | None) -> float | None:
    """
    Tell how often systemd is to hear of the event loop (sd_watchdog_enabled(3)).

    :param environ: the environment that the service was started with.
    :param pid: that of this process, if another may be the one that is watched;
        None if this one has taken its place.
    :return: half of the time after which systemd would end it, in seconds; None if
        it does not watch.
    """
    if pid is not None and environ.get("WATCHDOG_PID", str(pid)) != str(pid):
        return None
    microseconds = decimal(environ.get("WATCHDOG_USEC", ""))
    return microseconds / 2_000_000 if microseconds else None
