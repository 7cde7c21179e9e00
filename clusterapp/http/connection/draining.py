"""Drain of a client connection: finish what is under way, then transfer or close."""

import socket
from typing import Final, Protocol

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from clusterapp.http.connection.guard import Guarded, ends_connection
from clusterapp.http.connection.peer import ConnectionPeer
from clusterapp.http.connection.request_cycle import RequestCycle
from clusterapp.http.connection.request_input import RequestInput
from clusterapp.http.connection_limits import (
    CLOSE_NOTICE_SECONDS,
    FIRST_REQUEST_SECONDS,
)
from clusterapp.http.server.deadlines import Deadlines, Phase
from clusterapp.http.server.server_interfaces import Channel, Message, TransportAdapter
from clusterapp.http.syntax.message_head import CLOSE_NOTICE

#: Seconds until the next check of whether a response has begun, while draining.
_NEXT_CHECK: Final = 1.0


class Drainable(Guarded, Channel, Protocol):
    """What a drain needs of its connection."""

    adapter: TransportAdapter
    deadlines: Deadlines
    input: RequestInput
    cycle: RequestCycle
    peer: ConnectionPeer

    def loseConnection(self) -> None:
        """Close the connection once everything is written."""


class ConnectionDrain:
    """
    The drain of one connection, by the drain policy of its site.

    :param connection: the connection.
    """

    __slots__ = ("connection",)

    def __init__(self, connection: Drainable) -> None:
        self.connection = connection

    @property
    def listener(self) -> str:
        """The name of the listener that accepted the connection."""
        return self.connection.listener

    # Idle connections.

    def transfer_or_close(self) -> None:
        """Offer this idle connection to another process, or else close it."""
        if not self.connection.site.drain_policy.offer(self):
            self._keep_or_close()

    def offer_fd(self) -> socket.socket | None:
        """
        Pause reading, and return a duplicate of the socket for another process.

        :return: the duplicate, or None if the connection is not idle any more, is
            offered already, or cannot be transferred.
        """
        connection = self.connection
        adapter = connection.adapter
        # A request may have arrived first.
        if not (connection.cycle.is_idle and adapter.can_be_offered):
            return None
        if adapter.unsent:
            # Until the site's next check of timeouts.
            connection.deadlines.wait_for(Phase.REST, 0)
            return None
        connection.pause_reading()
        duplicate = adapter.offer()
        if duplicate is None:
            connection.resume_reading()
            self._keep_or_close()
        return duplicate

    @ends_connection
    def transferred(self) -> None:
        """Called when another process has the connection: close this descriptor."""
        self.connection.input.closed = True
        self.connection.adapter.close()

    @ends_connection
    def keep(self, *, duplicated: bool = False) -> None:
        """
        Keep the draining connection in this process.

        It is closed after the next response, or when no request comes in time.

        :param duplicated: whether other processes may hold duplicates of the socket.
        """
        connection = self.connection
        connection.adapter.withdraw(duplicated=duplicated)
        connection.resume_reading()
        if not connection.peer.is_client:
            # The other process is an agent, which closes upon a close notice.
            self.ask_to_close()
            return
        drain_policy = connection.site.drain_policy
        # Never closed at once: a request may have arrived while reading was paused, and
        # the first request of a new connection may be in flight.
        connection.deadlines.wait_for(
            Phase.REQUEST,
            drain_policy.moment()
            if connection.cycle.count
            else max(drain_policy.spread, FIRST_REQUEST_SECONDS),
        )

    @ends_connection
    def reclaim(self) -> None:
        """Do as `keep`, although other processes may hold duplicates of the socket."""
        self.keep(duplicated=True)
        # Reading was paused for a while: leave time to read what arrived meanwhile.
        self.connection.deadlines.extend(FIRST_REQUEST_SECONDS)

    def _keep_or_close(self) -> None:
        """Close the idle connection in this process, at once if that is allowed."""
        connection = self.connection
        spread = connection.site.drain_policy.spread
        if connection.cycle.count and not spread and connection.peer.is_client:
            connection.loseConnection()
        else:
            self.keep()

    def ask_to_close(self) -> None:
        """
        Send a close notice, so that the agent at the other end closes the connection.

        If this end closed it, a request could be in flight. A connection that has
        received no request yet was opened for one, which will arrive: no notice is
        sent on it.
        """
        connection = self.connection
        if connection.cycle.count:
            connection.write(CLOSE_NOTICE)
        connection.deadlines.wait_for(Phase.REQUEST, CLOSE_NOTICE_SECONDS)

    # Responses.

    def end_message(self, message: Message) -> None:
        """
        Start to end the current response.

        One that ends by itself is waited for; a stream of events is completed.
        """
        connection = self.connection
        if not message.responded:
            connection.close_after()
        if connection.input.sink is not None:
            return  # this is called again after the body
        if seconds := connection.site.drain_policy.moment():
            self._end_stream_in(seconds, message)
        else:
            self.end_stream()

    def end_stream(self) -> None:
        """Complete a response that would not end by itself, such as an event stream."""
        connection = self.connection
        connection.deadlines.clear()
        message = connection.cycle.message
        if message is None:
            return
        if not message.responded:
            if connection.cycle.deadline <= connection.site.clock.seconds():
                connection.cycle.response_is_late()
            else:
                seconds = max(connection.site.drain_policy.moment(), _NEXT_CHECK)
                self._end_stream_in(seconds, message)
            return
        ending = message.ending()
        if ending is not None:
            connection.write(ending)
            connection.linger()
            # The application is notified as if the client had disconnected.
            connection.cycle.give_up(message, Failure(ConnectionDone()))

    def _end_stream_in(self, seconds: float, message: Message) -> None:
        deadlines = self.connection.deadlines
        deadlines.wait_for(Phase.STREAM, seconds)
        if not message.responded:
            deadlines.at = min(deadlines.at, self.connection.cycle.deadline)
