"""
How the connections of a site that drains come to their ends.

Whoever is in the middle of something finishes it. What is idle is given to another
process, as it is, if there is one that takes it; all else that would not end by
itself ends at a moment of its own within some seconds, so that clients do not come
back all at once.
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

from clusterapp.channel.fd_claims import LentSocket
from clusterapp.guards import guarded

#: How many connections may be on their way to another process at once: AMP, which
#: takes them there, has no bound of its own.
_AT_ONCE = 32

#: Seconds for another process to take a connection over. Its client waits meanwhile,
#: and then this process serves on.
_SECONDS = 2.0

#: Lets another process serve a connection that has come by the listener of a name;
#: fires with whether one does.
HandOver = Callable[[socket.socket, str], Deferred[bool]]


class Idle(Protocol):
    """A connection that may be given to another process."""

    @property
    def door(self) -> str:
        """The name of the listener that it has come by."""

    def offer_fd(self) -> socket.socket | None:
        """
        Read nothing more, and give the socket for another process to serve.

        :return: a duplicate, or None if the connection is not idle any more, is
            lent already, or cannot leave this process.
        """

    def transferred(self) -> None:
        """Let go of the connection without closing it: another process has it."""

    def keep(self) -> None:
        """Read on, and come to an end here."""

    def reclaim(self) -> None:
        """Do the same, while other processes may hold duplicates of the socket."""


_DOING = "hand a connection over"

#: Guards the offer of one connection: on an exception that connection ends here.
_stays_on_error = guarded(
    _DOING, lambda _failure, connection, _hand_over: connection.keep()
)


class DrainPolicy:
    """
    The end of all connections of one site.

    :param spread: the seconds over which ends are spread.
    :param hand_over: lets another process serve a connection; None if none can. It
        gets a `LentSocket`, which the other process is to claim.
    :param clock: keeps the time, if connections can be handed over.
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
        """Choose in how many seconds something is to end."""
        return random.uniform(0, self.spread)  # noqa: S311 - it is no secret

    def offer(self, connection: Idle) -> bool:
        """
        Give an idle connection to another process, when its turn has come.

        :return: whether that can be tried; if so, `transferred` or `keep` is called
            later, unless a request comes first.
        """
        if self._hand_over is None:
            return False
        self._queue.append(connection)
        self._go_on(self._hand_over)
        return True

    def _go_on(self, hand_over: HandOver) -> None:
        if self._goes_on:
            return  # a channel that is gone answers at once, and for thousands
        self._goes_on = True
        while self._queue and self._under_way < _AT_ONCE:
            _stays_on_error(self._give)(self._queue.popleft(), hand_over)
        self._goes_on = False

    def _give(self, connection: Idle, hand_over: HandOver) -> None:
        if self._hand_over is None:  # an offer was not answered in time
            connection.keep()
            return
        duplicate = connection.offer_fd()
        if duplicate is None:
            return
        try:
            lent = LentSocket.offer(duplicate)
        except OSError:  # there is no descriptor left
            connection.keep()
            return
        self._under_way += 1

        def answered(taken: bool | Failure) -> None:
            self._under_way -= 1
            guarded(_DOING)(self._end_offer)(connection, lent, taken)
            self._go_on(hand_over)

        # What is sent over a channel that is gone may raise.
        given = maybeDeferred(hand_over, lent, connection.door)
        if self._clock is not None:
            given.addTimeout(_SECONDS, self._clock)
        given.addBoth(answered)

    def _end_offer(
        self, connection: Idle, lent: LentSocket, taken: bool | Failure
    ) -> None:
        late = isinstance(taken, Failure) and taken.check(TimeoutError) is not None
        if late and self._hand_over is not None:
            # Whoever stands still would keep each connection waiting as long.
            self._hand_over = None
            self._log.warn("the master takes no connections over: they stay here")
        # If the channel is broken, somebody may have it all the same.
        is_given = taken is True or not lent.claim()
        lent.close()
        if is_given:
            connection.transferred()
        elif late:
            connection.reclaim()
        else:
            connection.keep()
