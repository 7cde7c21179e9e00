"""Closing of a client connection, in the ways in which it may end."""

from typing import Protocol

from clusterapp.http.connection.flow_control import FlowControl
from clusterapp.http.connection.lingering_close import Lingering, LingeringClose
from clusterapp.http.connection.request_input import RequestInput
from clusterapp.http.connection_limits import (
    CLOSE_NOTIFY_SECONDS,
    LINGER_CHECK,
    LINGER_SECONDS,
    WRITE_STALL,
)
from clusterapp.http.server.deadlines import Deadlines, Phase
from clusterapp.http.server.server_interfaces import Server, TransportAdapter


class Closable(Protocol):
    """What closing needs of its connection: the other parts."""

    site: Server
    adapter: TransportAdapter
    deadlines: Deadlines
    flow: FlowControl
    input: RequestInput


class ConnectionClose:
    """
    Closing of one connection.

    :param connection: the connection.
    :ivar client_sends_no_more: whether the client has announced that.
    """

    __slots__ = ("_linger", "client_sends_no_more", "connection")

    def __init__(self, connection: Closable) -> None:
        self.connection = connection
        self.client_sends_no_more = False
        self._linger: LingeringClose | None = None

    def close(self) -> None:
        """
        Close the connection once everything is written.

        If the client may send more while it has yet to read, the close is a lingering
        one.
        """
        unacknowledged = self.connection.adapter.unacknowledged
        if not self.client_sends_no_more and unacknowledged() > 0:
            self.linger(LINGER_CHECK)
        else:
            self.close_now()

    def close_now(self) -> None:
        """Close once everything is written, without waiting for the client to read."""
        connection = self.connection
        if connection.adapter.must_linger:
            self.linger(CLOSE_NOTIFY_SECONDS)
            return
        connection.flow.unregister()
        connection.input.closed = True
        connection.deadlines.wait_for(Phase.END, WRITE_STALL)
        connection.adapter.close()

    def linger(self, seconds: float = LINGER_SECONDS) -> None:
        """
        Close with a lingering close, so that the client can read the response.

        Only the write side is closed, and input is read and discarded until the client
        closes or has acknowledged everything: if a socket is closed before, input that
        is not read, or comes later, resets the connection, and the client loses what
        it has not read (RFC 9112, section 9.6).

        :param seconds: how long to wait for the client to close, even if it has
            acknowledged everything.
        """
        connection = self.connection
        connection.flow.unregister()
        if connection.input.upgraded is not None:
            connection.input.upgraded.close()  # the protocol gets no further input
        connection.input.closed = True
        connection.deadlines.wait_for(Phase.LINGER, seconds)
        self._linger = LingeringClose(
            connection.adapter.unacknowledged(),
            connection.deadlines.at + WRITE_STALL,
        )
        connection.input.resume()
        if not connection.adapter.close_writing():
            connection.adapter.end_linger()

    def end_in(self, seconds: float) -> None:
        """Bound how long a lingering close waits for a client that reads nothing."""
        if self._linger is not None:
            self._linger.ends = self.connection.site.clock.seconds() + seconds

    def check(self) -> None:
        """Called after some time of a lingering close: end it if it may end."""
        connection = self.connection
        left = connection.adapter.unacknowledged()
        now = connection.site.clock.seconds()
        linger = self._linger
        outcome = Lingering.COMPLETE if linger is None else linger.check(left, now)
        if outcome is Lingering.COMPLETE:
            connection.adapter.end_linger()
        elif outcome is Lingering.STALLED:
            self.abort()
        else:
            connection.deadlines.wait_for(Phase.LINGER, LINGER_CHECK)

    @property
    def has_been_read(self) -> bool:
        """Whether only the client's closing is awaited: it has acknowledged all."""
        is_lingering = self.connection.deadlines.phase == Phase.LINGER
        return is_lingering and not self.connection.adapter.unacknowledged()

    def abort(self) -> None:
        """Abort the connection: close at once, so that the client sees an error."""
        connection = self.connection
        connection.input.closed = True
        connection.flow.stop()
        connection.deadlines.clear()
        connection.adapter.abort()

    def end_early(self) -> None:
        """
        Close the connection now, since file descriptors are scarce.

        An idle connection is closed as after its keep-alive timeout, but without
        waiting for the client to close, and so is a lingering one whose client has
        acknowledged everything. Any other one is aborted.
        """
        connection = self.connection
        if connection.deadlines.phase == Phase.REQUEST:
            self.close_now()
        elif not self.has_been_read:
            self.abort()
        # Also if it has only begun, and waits for a close_notify.
        if connection.deadlines.phase == Phase.LINGER:
            connection.adapter.end_linger()

    def end_late(self) -> None:
        """
        Close the connection now, since the graceful timeout is over.

        It is aborted, unless the whole response is written: then the kernel sends on.
        """
        connection = self.connection
        if connection.deadlines.phase == Phase.LINGER and not connection.adapter.unsent:
            connection.adapter.end_linger()
        else:
            self.abort()
