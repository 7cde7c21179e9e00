"""Polling a socket with a reactor, with pauses."""

import errno
import socket
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import IDelayedCall, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from clusterapp.guards import guarded, report

#: The errors of a process or a machine without free descriptors or memory: accept(2).
WITHOUT_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

#: The pause, in seconds, when this process has no descriptor left.
PAUSE_WITHOUT_DESCRIPTORS = 1.0

#: The pause, in seconds, in which other processes can accept first, or idle connections
#: close: enough for an idle process, and nothing that a client would notice.
MOMENT = 0.001


def no_room() -> int:
    """Close nothing."""
    return 0


class WatchingReactor(Protocol):
    """The methods of a reactor that `Watching` needs."""

    def addReader(self, reader: IReadDescriptor) -> None:
        """Call the reader's `doRead` whenever its descriptor is readable."""

    def removeReader(self, reader: IReadDescriptor) -> None:
        """Stop polling the reader's descriptor."""

    @property
    def callLater(self) -> Callable[..., IDelayedCall]:
        """Schedules a call after a number of seconds."""


@implementer(IReadDescriptor)
class Watching:
    """
    A reader whose `doRead` the reactor calls whenever a socket is readable.

    :param reactor: the reactor.
    :param watched: the socket, non-blocking.
    :param make_room: closes idle connections, which it logs, and returns their number.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: WatchingReactor,
        watched: socket.socket,
        make_room: Callable[[], int] = no_room,
    ) -> None:
        self._make_room = make_room
        self._reactor = reactor
        self._watched = watched
        self._is_on = False
        self._pause: IDelayedCall | None = None

    def _watch(self) -> None:
        """Start polling the socket."""
        if not self._is_on:
            self._is_on = True
            self._reactor.addReader(self)

    def _unwatch(self) -> None:
        """Stop polling the socket, and cancel a pause."""
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        elif self._is_on:
            self._reactor.removeReader(self)
        self._is_on = False

    def _leave_alone(
        self, seconds: float, then: Callable[[], object] | None = None
    ) -> None:
        """
        Pause polling of the socket.

        :param then: called when the pause is over.
        """
        if self._pause is not None:
            return  # it is paused already
        self._reactor.removeReader(self)
        self._pause = self._reactor.callLater(seconds, self._go_on, then)

    def _try_later(self, doing: str, error: object) -> None:
        """Pause: usually no descriptor is left, not even to refuse with."""
        if self._make_room():
            self._leave_alone(MOMENT)
            return
        self._log.error(
            "cannot {doing}: {error}; trying again in {seconds} s",
            doing=doing,
            error=error,
            seconds=PAUSE_WITHOUT_DESCRIPTORS,
        )
        self._leave_alone(PAUSE_WITHOUT_DESCRIPTORS)

    def pause_after_error(self) -> None:
        """
        Pause polling of the socket after an unexpected exception.

        The reactor would call `doRead` again at once, and forever.
        """
        if self._is_on and self._pause is None:
            self._leave_alone(PAUSE_WITHOUT_DESCRIPTORS)

    def cannot_serve(self, error: Exception) -> None:
        """
        Log why one connection cannot be served; pause if no other one can be, either.

        :param error: the exception that is being handled.
        """
        if isinstance(error, OSError):
            if error.errno in WITHOUT_RESOURCES:
                self._try_later("serve a connection", error)
                return
            if error.errno == errno.ENOTCONN:
                return  # the client has left between accept and getpeername
        report("serve a connection", Failure())

    @guarded("wait for connections")
    def _go_on(self, then: Callable[[], object] | None) -> None:
        self._pause = None
        self._reactor.addReader(self)
        if then is not None:
            then()

    # Called by the reactor.

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self._watched.fileno()

    def logPrefix(self) -> str:
        """Return the name of this object in Twisted's log."""
        return type(self).__name__

    def doRead(self) -> None:
        """Called when the socket is readable."""
        raise NotImplementedError

    def connectionLost(self, reason: Failure) -> None:
        """Called by the reactor when the socket is broken, or when it stops."""


def keeps_watching(
    doing: str,
) -> Callable[[Callable[[Any], object]], Callable[[Any], None]]:
    """
    Guard the `doRead` of a `Watching`: it pauses after an exception.

    :param doing: what `doRead` does, for the log.
    """
    return guarded(doing, lambda _failure, watching: watching.pause_after_error())
