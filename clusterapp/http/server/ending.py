"""How one client's connection comes to an end: in time, and on a site that drains."""

from http import HTTPStatus
from math import inf
from typing import TYPE_CHECKING, Final

from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from clusterapp.http.exchange.connection_exchange import StreamedExchange
from clusterapp.http.limits import (
    CLOSE_NOTICE_SECONDS,
    FIRST_REQUEST_SECONDS,
    GOODBYE_SECONDS,
    LINGER_SECONDS,
    WRITE_STALL,
)
from clusterapp.http.server.reading import Message, Reading
from clusterapp.http.server.wire import ends_connection
from clusterapp.http.syntax.frame_boundaries import SERVICE_RESTART
from clusterapp.http.syntax.message_head import CLOSE_NOTICE
from clusterapp.http.upstream.tunnel import Tunnel

if TYPE_CHECKING:
    import socket

    from clusterapp.http.server.site import ClusterSite


#: Why the rest of a file cannot be sent.
SHORTER: Final = "the file has become shorter than was announced"

#: Seconds until it is looked again whether a response has begun.
_NEXT_LOOK: Final = 1.0

#: What a connection waits for when it has no request.
_BETWEEN_REQUESTS: Final = frozenset({"request", "rest"})


class Ending(Reading):
    """
    What a connection does when a time is over, and when its site drains.

    :param site: what is served.
    """

    __slots__ = ("_closing", "_count", "_speaks_websocket")

    #: The name of the listener that it has come by; empty where there is no telling.
    door = ""
    #: Whether a client is at the other end, or a proxy, and not another worker.
    of_client = True

    @property
    def _of_agent(self) -> bool:
        """Whether a `CoreAgent` is at the other end, which heeds a close notice."""
        return self.site.serves_agents or not self.of_client

    _log = Logger()

    def __init__(self, site: "ClusterSite") -> None:
        super().__init__(site)
        self._count = 0
        #: Whether the connection ends with this response, as the client knows or
        #: will know from its head.
        self._closing = False
        self._speaks_websocket = False

    def _give_up(self, message: Message, reason: Failure) -> None:
        raise NotImplementedError

    @ends_connection
    def overdue(self, now: float) -> None:
        """Do what is to be done when a time is over; the site's clock calls this."""
        if self.stall <= now:
            self.abortConnection()
        elif self.deadline <= now:
            getattr(self, _AT_THE_END.get(self.phase, "abortConnection"))()

    @property
    def lingers(self) -> bool:
        """Whether it has waited for the client's end for a second or longer."""
        left = self.deadline - self.site.clock.seconds()
        return self.phase == "end" and left <= LINGER_SECONDS - 1

    @ends_connection
    def end_early(self) -> None:
        """
        Close now: descriptors are scarce.

        Only an idle connection is closed as at the end of its time, but without
        waiting for a close_notify. Any other one is broken off, since one that lingers
        keeps its descriptor.
        """
        if self.phase == "request":
            self.loseConnection()
        elif self.phase != "notify":
            self.abortConnection()
        if self.phase == "notify":
            self.close_notify_is_late()

    def close_notify_is_late(self) -> None:
        """Close without the client's close_notify, once the kernel has everything."""
        self._wait_for("end", WRITE_STALL)
        self._end_input()

    def head_is_late(self) -> None:
        """Refuse a request whose head takes too long."""
        self._refuse(HTTPStatus.REQUEST_TIMEOUT)

    def response_is_late(self) -> None:
        """Give up a request that nobody has answered in time."""
        message, head = self._message, self._head
        self.phase = "nothing"
        self.deadline = inf
        if message is None or head is None or message.responded:
            return
        self._log.error(
            "{method} {path} is given up: no response within {seconds:g} s",
            method=head.method.decode("ascii"),
            path=head.target.partition(b"?")[0].decode("latin-1"),
            seconds=self.limits.request_timeout,
        )
        forwarded = isinstance(message, StreamedExchange)
        self._refuse(
            HTTPStatus.GATEWAY_TIMEOUT if forwarded else HTTPStatus.SERVICE_UNAVAILABLE
        )

    # When making a response has failed.

    def refuse_request(self, status: HTTPStatus) -> None:
        """
        Answer the request under way with an error of our own, and close.

        :param status: the error; nothing of another response must have been sent.
        """
        self._refuse(status)

    def break_off(self, message: Message) -> None:
        """
        Close at once, so that the client sees that a response is incomplete.

        :param message: what responds; nobody listens to it any more.
        """
        self.abortConnection()
        if self._message is message:
            self._give_up(message, Failure(ConnectionAborted()))

    def _producer_failed(self, failure: Failure) -> None:
        """End the response whose producer has raised an exception."""
        if self._protocol is None and self._message is not None:
            self._stop_producer()  # which may hold files
            self._message.fail(failure)
        else:
            self.report("let a producer follow the client", failure)
            self.fail(failure)

    def _file_failed(self, error: OSError | None = None) -> None:
        if not isinstance(error, ConnectionError):  # the client has gone
            target = b"-" if self._head is None else self._head.target
            self._log.error(
                "cannot send {path}: {why}; its response is broken off",
                path=target.partition(b"?")[0].decode("latin-1"),
                why=error or SHORTER,
            )
        self.abortConnection()

    # On a site that drains.

    @ends_connection
    def drain(self) -> None:
        """Come to an end, without breaking off what is under way."""
        if self._protocol is not None:
            self._drain_protocol()
        elif self._message is not None:
            self._drain_message(self._message)
        elif self._is_idle:
            self.leave()

    def offer_fd(self) -> "socket.socket | None":
        """Give nothing: not every kind of transport can leave this process."""
        if self._is_idle:
            self.keep()
        return None

    def transferred(self) -> None:
        """Let go of what another process has."""
        raise NotImplementedError

    @ends_connection
    def keep(self) -> None:
        """Come to an end here: the next response says so, or none comes in time."""
        self.resume_reading()
        if self._of_agent:
            self._ask_to_close()
            return
        drain_policy = self.site.drain_policy
        # Never at once: a request may have come while nobody read, and that of a new
        # connection may be on its way.
        self._wait_for(
            "request",
            drain_policy.moment()
            if self._count
            else max(drain_policy.spread, FIRST_REQUEST_SECONDS),
        )

    def reclaim(self) -> None:
        """Come to an end here, though others may hold duplicates of the socket."""
        self.keep()

    def leave(self) -> None:
        """Let another process have this idle connection, or come to its end."""
        if not self.site.drain_policy.offer(self):
            self._keep_connection()

    def _keep_connection(self) -> None:
        """Come to an end here, at once if it may be so."""
        if self._count and not (self.site.drain_policy.spread or self._of_agent):
            self.loseConnection()
        else:
            self.keep()

    def _ask_to_close(self) -> None:
        """
        Have the agent at the other end close the connection.

        If this end closed, a request could be on its way.  A connection that has
        brought no request yet was made for one, which comes.
        """
        if self._count:
            self.write(CLOSE_NOTICE)
        self._wait_for("request", CLOSE_NOTICE_SECONDS)

    @property
    def _is_idle(self) -> bool:
        return (
            self.phase in _BETWEEN_REQUESTS
            and not self._input_closed
            and not self._pending_input
            and self._message is None
        )

    def _drain_message(self, message: Message) -> None:
        if not message.responded:
            self._closing = True
        if self._sink is not None:
            return  # `_expect_response` comes back to it
        if seconds := self.site.drain_policy.moment():
            self._end_stream_in(seconds, message)
        else:
            self.end_stream()

    def _expect_response(self) -> None:
        super()._expect_response()
        if self.site.draining and self._message is not None:
            self._drain_message(self._message)

    def end_stream(self) -> None:
        """End a response that would not end by itself, as if it had."""
        self.phase = "nothing"
        self.deadline = inf
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
            # The application hears of it as if the client had left.
            self._give_up(message, Failure(ConnectionDone()))

    def _end_stream_in(self, seconds: float, message: Message) -> None:
        self._wait_for("stream", seconds)
        if not message.responded:
            self.deadline = min(self.deadline, self._late)

    def _drain_protocol(self) -> None:
        if self.phase != "nothing":
            return  # its end has begun
        if not self._speaks_websocket:
            self.close_protocol()
        elif seconds := self.site.drain_policy.moment():
            self._wait_for("upgraded", seconds)
        else:
            self.send_close_frame()

    def send_close_frame(self) -> None:
        """Tell a WebSocket's client to come back, and wait a little for its answer."""
        self.phase = "nothing"
        self.deadline = inf
        protocol = self._protocol and self._protocol.protocol
        if isinstance(protocol, Tunnel):
            # The core's frames come in pieces.
            protocol.end_with(SERVICE_RESTART, self._wait_for_answer)
        else:
            self.write(SERVICE_RESTART)
            self._wait_for_answer()

    def _wait_for_answer(self) -> None:
        self._wait_for("goodbye", GOODBYE_SECONDS)

    def close_protocol(self) -> None:
        """End a stream that another protocol has."""
        self._wait_for("end", LINGER_SECONDS)
        self.unregisterProducer()
        self._close()


#: The method that a connection calls when the time of its phase is over. Names: that
#: of a subclass is called where it has its own.
_AT_THE_END: Final = {
    "request": "loseConnection",
    "rest": "leave",
    "head": "head_is_late",
    "body": "check_rate",
    "response": "response_is_late",
    "stream": "end_stream",
    "upgraded": "send_close_frame",
    "goodbye": "close_protocol",
    "discard": "linger",
    "notify": "close_notify_is_late",
}
