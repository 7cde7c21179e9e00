"""
Notifications of a service to systemd: sd_notify(3), in a few lines of our own.

Without a notification socket they do nothing.
"""

import socket
import time
from collections.abc import Mapping
from typing import Self

from twisted.logger import Logger

from clusterapp.settings.endpoint_syntax import decimal

#: The timeout of a send, in seconds: systemd may be busy; notifications must not be
#: lost, nor block the event loop for long.
_TIMEOUT = 1.0


class Notifier:
    """
    Sends notifications to systemd; a failure is logged as a warning, once.

    :param path: the datagram socket of the notifications: a path, or a name that begins
        with ``@``. None if there is none.
    """

    _log = Logger()

    def __init__(self, path: str | None) -> None:
        # An abstract address begins with a NUL in place of the @ (unix(7)).
        self._address = f"\0{path[1:]}" if path and path[0] == "@" else path
        self._path = path
        self._warned = False

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self:
        """Return a notifier for the socket in NOTIFY_SOCKET."""
        return cls(environ.get("NOTIFY_SOCKET") or None)

    def ready(self) -> None:
        """Notify systemd that the start, or a reload, is complete."""
        self._send("READY=1")

    def reloading(self) -> None:
        """Notify systemd that a reload begins; `ready` notifies it of the end."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send("RELOADING=1", f"MONOTONIC_USEC={now}")

    def stopping(self) -> None:
        """Notify systemd that the service begins to stop."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """Send the status of the service to systemd, as a line for people."""
        self._send(f"STATUS={' '.join(text.split())}")

    def main_pid(self, pid: int) -> None:
        """
        Notify systemd which process is the main one from now on.

        With ``NotifyAccess=main``, only the previous main process may send this, and
        only notifications of the new one are accepted afterwards.
        """
        self._send(f"MAINPID={pid}")

    def watchdog(self) -> None:
        """Notify systemd's watchdog that the service's event loop runs."""
        self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if self._address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
                out.settimeout(_TIMEOUT)
                out.sendto("\n".join(lines).encode(errors="replace"), self._address)
        except OSError as error:
            self._warn(error)

    def _warn(self, error: OSError) -> None:
        if self._warned:
            return
        self._warned = True
        self._log.warn(
            "cannot notify systemd on {path}: {error}",
            path=self._path,
            error=error,
        )


def watchdog_interval(environ: Mapping[str, str], pid: int | None) -> float | None:
    """
    Return the interval of watchdog notifications (sd_watchdog_enabled(3)).

    :param environ: the environment that the service was started with.
    :param pid: the pid of this process, if systemd may watch another one; None if this
        process has taken over from that one.
    :return: half of the time after which systemd would end the service, in seconds;
        None if it has no watchdog.
    """
    if pid is not None and environ.get("WATCHDOG_PID", str(pid)) != str(pid):
        return None
    microseconds = decimal(environ.get("WATCHDOG_USEC", ""))
    return microseconds / 2_000_000 if microseconds else None
