"""
Drain policy: how the connections of a draining site are transferred and closed.

Requests under way are finished. An idle connection is transferred to another process,
unchanged, if one accepts it. All connections that would not close by themselves are
closed at random moments within some seconds, so that clients do not reconnect all at
once.
"""

import random
import socket
from collections import deque
from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred, TimeoutError, maybeDeferred  # noqa: A004
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from clusterapp.channel.fd_claims import OfferedSocket
from clusterapp.guards import guarded

#: The maximum number of connections offered at the same time: AMP, which carries the
#: offers, has no bound of its own.
_AT_ONCE = 32

#: The timeout of an offer in seconds. The client waits meanwhile; after it, this
#: process goes on serving the connection.
_SECONDS = 2.0

#: Offers a connection, with the name of its listener, to another process; fires with
#: whether another process serves it.
HandOver = Callable[[socket.socket, str], Deferred[bool]]


class Idle(Protocol):
    """An idle connection that may be transferred to another process."""

    @property
    def listener(self) -> str:
        """The name of the listener that accepted the connection."""

    def offer_fd(self) -> socket.socket | None:
        """
        Pause reading, and return a duplicate of the socket for another process.

        :return: the duplicate, or None if the connection is not idle any more, is
            offered already, or cannot be transferred.
        """

    def transferred(self) -> None:
        """Called when another process has the connection: close only the descriptor."""

    def keep(self) -> None:
        """Called when no process accepts the offer: resume reading, close it here."""

    def reclaim(self) -> None:
        """Do as `keep`, although other processes may hold duplicates of the socket."""


_DOING = "hand a connection over"

#: Guards the offer of one connection: on an exception it stays in this process.
_stays_on_error = guarded(
    _DOING, lambda _failure, connection, _hand_over: connection.keep()
)


class DrainPolicy:
    """
    Drain policy of one site: when connections close, and which are transferred.

    :param spread: the seconds over which closing is spread.
    :param hand_over: offers a connection to another process; None if none can serve
        it. It gets an `OfferedSocket`, which the other process is to claim.
    :param clock: the reactor, for the timeouts of offers; None for no timeouts.
    """

    _log = Logger()

    def __init__(
        self,
        spread: float,
        hand_over: HandOver | None,
        clock: IReactorTime | None = None,
    ) -> None:
        self.spread = spread
        self._hand_over = hand_over
        self._clock = clock
        self._queue: deque[Idle] = deque()
        self._under_way = 0
        self._goes_on = False

    def moment(self) -> float:
        """Return a random number of seconds after which to close one connection."""
        return random.uniform(0, self.spread)  # noqa: S311 - no cryptographic use

    def offer(self, connection: Idle) -> bool:
        """
        Queue an idle connection to be offered to another process.

        :return: whether connections can be offered; if so, `transferred` or `keep` is
            called later, unless a request arrives first.
        """
        if self._hand_over is None:
            return False
        self._queue.append(connection)
        self._go_on(self._hand_over)
        return True

    def _go_on(self, hand_over: HandOver) -> None:
        if self._goes_on:
            # A closed channel answers at once: without this, thousands of queued
            # connections would recurse.
            return
        self._goes_on = True
        while self._queue and self._under_way < _AT_ONCE:
            _stays_on_error(self._give)(self._queue.popleft(), hand_over)
        self._goes_on = False

    def _give(self, connection: Idle, hand_over: HandOver) -> None:
        if self._hand_over is None:  # an earlier offer has timed out
            connection.keep()
            return
        duplicate = connection.offer_fd()
        if duplicate is None:
            return
        try:
            lent = OfferedSocket.offer(duplicate)
        except OSError:  # no file descriptor is left
            connection.keep()
            return
        self._under_way += 1

        def answered(taken: bool | Failure) -> None:
            self._under_way -= 1
            guarded(_DOING)(self._end_offer)(connection, lent, taken)
            self._go_on(hand_over)

        # Sending over a closed channel may raise.
        given = maybeDeferred(hand_over, lent, connection.listener)
        if self._clock is not None:
            given.addTimeout(_SECONDS, self._clock)
        given.addBoth(answered)

    def _end_offer(
        self, connection: Idle, lent: OfferedSocket, taken: bool | Failure
    ) -> None:
        late = isinstance(taken, Failure) and taken.check(TimeoutError) is not None
        if late and self._hand_over is not None:
            # A blocked master would delay each further connection as long.
            self._hand_over = None
            self._log.warn("the master takes no connections over: they stay here")
        # If the channel is broken, another process may have the connection all the
        # same; the claim decides.
        is_given = taken is True or not lent.claim()
        lent.close()
        if is_given:
            connection.transferred()
        elif late:
            connection.reclaim()
        else:
            connection.keep()
