"""Watching a socket with a reactor, and leaving it alone for a while."""

import errno
import socket
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import IDelayedCall, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from clusterapp.guards import guarded, report

#: The errors of a process or a machine without descriptors or memory: accept(2).
WITHOUT_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

#: How long a socket is left alone when this process has no descriptor left.
PAUSE_WITHOUT_DESCRIPTORS = 1.0

#: Seconds after which a socket is looked at again when others were to come first, or
#: idle connections to close: enough for what has nothing else to do, and nothing that
#: a client would notice.
MOMENT = 0.001


def no_room() -> int:
    """Close nothing."""
    return 0


class WatchingReactor(Protocol):
    """The parts of a reactor that watching needs."""

    def addReader(self, reader: IReadDescriptor) -> None:
        """Tell a reader whenever there is something to read."""

    def removeReader(self, reader: IReadDescriptor) -> None:
        """Tell it no more."""

    @property
    def callLater(self) -> Callable[..., IDelayedCall]:
        """Call something after some seconds."""


@implementer(IReadDescriptor)
class Watching:
    """
    Hears from a reactor whenever there is something on a socket.

    :param reactor: the reactor.
    :param watched: the socket, which does not block.
    :param make_room: closes connections that are idle, which it logs, and returns how
        many.
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
        """Hear of it from now on."""
        if not self._is_on:
            self._is_on = True
            self._reactor.addReader(self)

    def _unwatch(self) -> None:
        """Hear of it no more, nor later."""
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
        Hear nothing of it for a while.

        :param then: called when that is over.
        """
        if self._pause is not None:
            return  # it is left alone already
        self._reactor.removeReader(self)
        self._pause = self._reactor.callLater(seconds, self._go_on, then)

    def _try_later(self, doing: str, error: object) -> None:
        """Wait: as a rule there is no descriptor left, not even to refuse with."""
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
        Leave the socket alone for a while after an exception that nobody expected.

        The reactor would call `doRead` again at once, and for ever.
        """
        if self._is_on and self._pause is None:
            self._leave_alone(PAUSE_WITHOUT_DESCRIPTORS)

    def cannot_serve(self, error: Exception) -> None:
        """
        Log why one connection cannot be served, and pause if no other one can.

        :param error: what was raised; it is being handled.
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

    # What the reactor calls.

    def fileno(self) -> int:
        """Tell the descriptor to wait for."""
        return self._watched.fileno()

    def logPrefix(self) -> str:
        """Name this object in Twisted's log."""
        return type(self).__name__

    def doRead(self) -> None:
        """Hear that there is something."""
        raise NotImplementedError

    def connectionLost(self, reason: Failure) -> None:
        """Hear from the reactor that the socket is broken, or that all ends."""


def keeps_watching(
    doing: str,
) -> Callable[[Callable[[Any], object]], Callable[[Any], None]]:
    """
    Guard the `doRead` of a `Watching`: after an exception it pauses for a while.

    :param doing: what it does, for the log.
    """
    return guarded(doing, lambda _failure, watching: watching.pause_after_error())
