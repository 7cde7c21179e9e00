"""Accepting connections in the master, several at a time."""

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from clusterapp.listening.accept import (
    CONNECTION_LOST,
    PAUSE_WITHOUT_DESCRIPTORS,
    AcceptingReactor,
)

#: How many connections are accepted for one wake-up: they are passed on together,
#: and nobody else takes any from these sockets.
_MOST = 32


@implementer(IReadDescriptor)
class Arrivals:
    """
    Accepts what comes to one listening socket.

    :param reactor: the master's reactor.
    :param listening: the socket; it stays the caller's.
    :param arrived: takes a connection's descriptor, and the other end's address.
    :param all_arrived: called when there is none left for now.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: AcceptingReactor,
        listening: socket.socket,
        arrived: Callable[[int, Any], None],
        all_arrived: Callable[[], None],
    ) -> None:
        self._reactor = reactor
        self._listening = listening
        self._arrived = arrived
        self._all_arrived = all_arrived
        self._pause: IDelayedCall | None = None
        self._is_on = False

    def turn(self, *, on: bool) -> None:
        """Accept from now on, or do not; what is in the queue stays there."""
        if on == self._is_on:
            return
        self._is_on = on
        if on:
            self._reactor.addReader(self)
        elif self._pause is not None:
            self._pause.cancel()
            self._pause = None
        else:
            self._reactor.removeReader(self)

    def fileno(self) -> int:
        """Tell the descriptor to wait for."""
        return self._listening.fileno()

    def logPrefix(self) -> str:
        """Name this object in Twisted's log."""
        return "arrivals"

    def doRead(self) -> None:
        """Accept what is there, up to a bound."""
        for _ in range(_MOST):
            try:
                # What `accept` calls, before it makes a socket of it.
                connection, peer = self._listening._accept()  # type: ignore[attr-defined]  # noqa: SLF001
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno not in CONNECTION_LOST:
                    self._try_later(error)
                break
            try:
                self._arrived(connection, peer)
            except Exception:  # noqa: BLE001 - else the reactor would drop the listener
                self._log.failure("cannot pass a connection on")
            if not self._is_on:
                break
        self._all_arrived()

    def connectionLost(self, reason: Failure) -> None:
        """Hear from the reactor that the socket is broken, or that all ends."""

    def _try_later(self, error: OSError) -> None:
        self._log.error(
            "cannot accept: {error}; trying again in {seconds} s",
            error=error,
            seconds=PAUSE_WITHOUT_DESCRIPTORS,
        )
        self._reactor.removeReader(self)
        self._pause = self._reactor.callLater(PAUSE_WITHOUT_DESCRIPTORS, self._resume)

    def _resume(self) -> None:
        self._pause = None
        self._reactor.addReader(self)
