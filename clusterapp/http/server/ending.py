"""Closing of a client connection: by timeouts, after errors, and while draining."""

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from clusterapp.http.connection_limits import (
    BODY_RATE,
    CLOSE_NOTICE_SECONDS,
    FIRST_REQUEST_SECONDS,
    GOODBYE_SECONDS,
    LINGER_CHECK,
    LINGER_SECONDS,
    WRITE_STALL,
)
from clusterapp.http.server.deadlines import Phase
from clusterapp.http.server.interfaces import Message, Server
from clusterapp.http.server.reading import Reading
from clusterapp.http.server.wire import ends_connection
from clusterapp.http.syntax.frame_boundaries import SERVICE_RESTART, IFramedOutput
from clusterapp.http.syntax.message_head import CLOSE_NOTICE

if TYPE_CHECKING:
    import socket


#: The logged reason why the rest of a file cannot be sent.
SHORTER: Final = "the file has become shorter than was announced"

#: Seconds until the next check of whether a response has begun, while draining.
_NEXT_LOOK: Final = 1.0

#: The phases of a connection that has no request.
_BETWEEN_REQUESTS: Final = (Phase.REQUEST, Phase.REST)


class Ending(Reading):
    """
    Timeouts and drain of a connection.

    :param site: the site that is served.
    """

    __slots__ = ("_closing", "_count", "_speaks_websocket")

    #: The name of the listener that accepted the connection; empty if not known.
    listener = ""
    #: Whether the peer is a client or a proxy, not another worker.
    of_client = True

    @property
    def _of_agent(self) -> bool:
        """Whether the peer is a `CoreAgent`, which closes upon a close notice."""
        return self.site.serves_agents or not self.of_client

    _log = Logger()

    def __init__(self, site: Server) -> None:
        super().__init__(site)
        self._count = 0
        #: Whether the connection is closed after this response, whose head tells the
        #: client so.
        self._closing = False
        self._speaks_websocket = False

    def _give_up(self, message: Message, reason: Failure) -> None:
        raise NotImplementedError

    @ends_connection
    def overdue(self, now: float) -> None:
        """
        Called by the site when a deadline of the connection has passed.

        :param now: the current time on the site's clock, in seconds.
        """
        if self.deadlines.stall <= now:
            self.abortConnection()
        elif self.deadlines.at <= now:
            getattr(self, _AT_THE_END.get(self.deadlines.phase, "abortConnection"))()

    def check_linger(self) -> None:
        """
        Called after some time of a lingering close: end it if it may end.

        It ends a while after the client has acknowledged everything; a client that
        reads nothing for too long, or too slowly, is aborted.
        """
        left, before = self.unacknowledged(), self._unacknowledged
        if not (left or before):
            self._end_linger()
            return
        now = self.site.clock.seconds()
        if not left or before - left >= BODY_RATE * WRITE_STALL:
            self._unacknowledged = left
            self._linger_end = now + WRITE_STALL
        if self._linger_end <= now:
            self.abortConnection()
        else:
            self.deadlines.wait_for(Phase.LINGER, LINGER_CHECK)

    @property
    def has_been_read(self) -> bool:
        """Whether only the client's closing is awaited: it has acknowledged all."""
        return self.deadlines.phase == Phase.LINGER and not self.unacknowledged()

    @ends_connection
    def end_early(self) -> None:
        """
        Close the connection now, since file descriptors are scarce.

        An idle connection is closed as after its keep-alive timeout, but without
        waiting for the client to close, and so is a lingering one whose client has
        acknowledged everything. Any other one is aborted.
        """
        if self.deadlines.phase == Phase.REQUEST:
            self._close_now()
        elif not self.has_been_read:
            self.abortConnection()
        self._end_linger_early()

    def _end_linger_early(self) -> None:
        # Also if it has only begun, and waits for a close_notify.
        if self.deadlines.phase == Phase.LINGER:
            self._end_linger()

    @ends_connection
    def end_late(self) -> None:
        """
        Close the connection now, since the graceful timeout is over.

        It is aborted, unless the whole response is written: then the kernel sends on.
        """
        if self.deadlines.phase == Phase.LINGER and self._is_flushed():
            self._end_linger()
        else:
            self.abortConnection()

    def head_is_late(self) -> None:
        """Called when the header timeout is over: answer 408 and close."""
        self._refuse(HTTPStatus.REQUEST_TIMEOUT)

    def response_is_late(self) -> None:
        """Called when the request timeout is over: answer 504 or 503, and close."""
        message, head = self._message, self._head
        self.deadlines.clear()
        if message is None or head is None or message.responded:
            return
        self._log.error(
            "{method} {path} is given up: no response within {seconds:g} s",
            method=head.method.decode("ascii"),
            path=head.target.partition(b"?")[0].decode("latin-1"),
            seconds=self.limits.request_timeout,
        )
        self._refuse(message.late_status)

    # When producing a response has failed.

    def refuse_request(self, status: HTTPStatus) -> None:
        """
        Answer the current request with an error response, and close.

        :param status: the status code; no part of another response may have been sent.
        """
        self._refuse(status)

    def break_off(self, message: Message) -> None:
        """
        Abort the connection, so that the client sees that a response is incomplete.

        :param message: the message that responds, which is dropped.
        """
        self.abortConnection()
        if self._message is message:
            self._give_up(message, Failure(ConnectionAborted()))

    def _producer_failed(self, failure: Failure) -> None:
        """Called when a producer has raised an exception: end its response."""
        if self._protocol is None and self._message is not None:
            self._stop_producer()  # the producer may hold open files
            self._message.fail(failure)
        else:
            self.report("let a producer follow the client", failure)
            self.fail(failure)

    def _file_failed(self, error: OSError | None = None) -> None:
        if not isinstance(error, ConnectionError):  # the client has disconnected
            target = b"-" if self._head is None else self._head.target
            self._log.error(
                "cannot send {path}: {why}; its response is broken off",
                path=target.partition(b"?")[0].decode("latin-1"),
                why=error or SHORTER,
            )
        self.abortConnection()

    # While the site drains.

    @ends_connection
    def drain(self) -> None:
        """Start to drain: finish the current request; close or transfer when idle."""
        if self._protocol is not None:
            self._drain_protocol()
        elif self._message is not None:
            self._drain_message(self._message)
        elif self._is_idle:
            self.leave()

    def offer_fd(self) -> "socket.socket | None":
        """Return None: not every kind of transport can be passed to another process."""
        if self._is_idle:
            self.keep()
        return None

    def transferred(self) -> None:
        """Called when another process has the connection: close this descriptor."""
        raise NotImplementedError

    @ends_connection
    def keep(self) -> None:
        """
        Keep the draining connection in this process.

        It is closed after the next response, or when no request comes in time.
        """
        self.resume_reading()
        if self._of_agent:
            self._ask_to_close()
            return
        drain_policy = self.site.drain_policy
        # Never closed at once: a request may have arrived while reading was paused, and
        # the first request of a new connection may be in flight.
        self.deadlines.wait_for(
            Phase.REQUEST,
            drain_policy.moment()
            if self._count
            else max(drain_policy.spread, FIRST_REQUEST_SECONDS),
        )

    def reclaim(self) -> None:
        """Do as `keep`, although other processes may hold duplicates of the socket."""
        self.keep()

    def leave(self) -> None:
        """Offer this idle connection to another process, or else close it."""
        if not self.site.drain_policy.offer(self):
            self._keep_connection()

    def _keep_connection(self) -> None:
        """Close the idle connection in this process, at once if that is allowed."""
        if self._count and not (self.site.drain_policy.spread or self._of_agent):
            self.loseConnection()
        else:
            self.keep()

    def _ask_to_close(self) -> None:
        """
        Send a close notice, so that the agent at the other end closes the connection.

        If this end closed it, a request could be in flight. A connection that has
        received no request yet was opened for one, which will arrive: no notice is
        sent on it.
        """
        if self._count:
            self.write(CLOSE_NOTICE)
        self.deadlines.wait_for(Phase.REQUEST, CLOSE_NOTICE_SECONDS)

    @property
    def _is_idle(self) -> bool:
        return (
            self.deadlines.phase in _BETWEEN_REQUESTS
            and not self._input_closed
            and not self.stream.pending
            and self._message is None
        )

    def _drain_message(self, message: Message) -> None:
        if not message.responded:
            self._closing = True
        if self._sink is not None:
            return  # `_expect_response` calls this again after the body
        if seconds := self.site.drain_policy.moment():
            self._end_stream_in(seconds, message)
        else:
            self.end_stream()

    def _expect_response(self) -> None:
        super()._expect_response()
        if self.site.draining and self._message is not None:
            self._drain_message(self._message)

    def end_stream(self) -> None:
        """Complete a response that would not end by itself, such as an event stream."""
        self.deadlines.clear()
        message = self._message
        if message is None:
            return
        if not message.responded:
            if self._late <= self.site.clock.seconds():
                self.response_is_late()
            else:
                seconds = max(self.site.drain_policy.moment(), _NEXT_LOOK)
                self._end_stream_in(seconds, message)
            return
        ending = message.ending()
        if ending is not None:
            self.write(ending)
            self.linger()
            # The application is notified as if the client had disconnected.
            self._give_up(message, Failure(ConnectionDone()))

    def _end_stream_in(self, seconds: float, message: Message) -> None:
        self.deadlines.wait_for(Phase.STREAM, seconds)
        if not message.responded:
            self.deadlines.at = min(self.deadlines.at, self._late)

    def _drain_protocol(self) -> None:
        if self.deadlines.phase != Phase.NOTHING:
            return  # closing has begun already
        if not self._speaks_websocket:
            self.close_protocol()
        elif seconds := self.site.drain_policy.moment():
            self.deadlines.wait_for(Phase.UPGRADED, seconds)
        else:
            self.send_close_frame()

    def send_close_frame(self) -> None:
        """Send a WebSocket close frame with 1012, and wait briefly for the peer's."""
        self.deadlines.clear()
        protocol = self._protocol and self._protocol.protocol
        if IFramedOutput.providedBy(protocol):
            # The core's frames arrive in pieces: the close frame must wait for the
            # end of a frame.
            protocol.end_with(SERVICE_RESTART, self._wait_for_answer)
        else:
            self.write(SERVICE_RESTART)
            self._wait_for_answer()

    def _wait_for_answer(self) -> None:
        self.deadlines.wait_for(Phase.GOODBYE, GOODBYE_SECONDS)

    def close_protocol(self) -> None:
        """
        Close a connection that was upgraded to another protocol.

        Its client, which is to come back elsewhere, has less time to read than that of
        a response.
        """
        self.loseConnection()
        self._linger_end = self.site.clock.seconds() + LINGER_SECONDS


#: The method called when the deadline of each phase has passed. These are names, so
#: that the methods of subclasses are called where they override these.
_AT_THE_END: Final = {
    Phase.REQUEST: "loseConnection",
    Phase.REST: "leave",
    Phase.HEAD: "head_is_late",
    Phase.BODY: "check_rate",
    Phase.RESPONSE: "response_is_late",
    Phase.STREAM: "end_stream",
    Phase.UPGRADED: "send_close_frame",
    Phase.GOODBYE: "close_protocol",
    Phase.DISCARD: "linger",
    Phase.LINGER: "check_linger",
}
