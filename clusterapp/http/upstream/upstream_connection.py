"""A connection to the core (in a worker), and its current call."""

import select
import socket
from collections.abc import Callable
from typing import Final
from typing import Protocol as Face

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IConsumer,
    IHandshakeListener,
    IPushProducer,
    ISSLTransport,
    ISystemHandle,
    ITCPTransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from clusterapp.errors import CoreBrokenError, CoreUnreachableError
from clusterapp.guards import guarded
from clusterapp.http.syntax.message_head import (
    RequestHead,
    ResponseHead,
    asks_upgrade,
    is_close_notice,
)
from clusterapp.http.syntax.request_encoding import BodySender, encode
from clusterapp.http.syntax.response_parser import ResponseReader
from clusterapp.http.upstream.upstream_response import DONE, WireRequest, WireResponse

_SWITCHING: Final = 101


class Call:
    """
    A request that awaits the head of its response.

    :param head: the request's head.
    :param body: the producer of its body.
    :param interim: called with each 1xx response.
    :param uri: the absolute URI, if it is known.
    :param response_type: the class of the response.
    :raise ValueError: for a head that cannot be written.
    """

    __slots__ = (
        "_result",
        "body",
        "give_up",
        "head",
        "interim",
        "options",
        "response_type",
        "uri",
        "wire",
    )

    #: Cancels the operation under way for the call.
    give_up: Callable[[], object]

    def __init__(
        self,
        head: RequestHead,
        body: IBodyProducer | None,
        interim: Callable[[ResponseHead], None] | None,
        uri: bytes | None,
        response_type: type[WireResponse] = WireResponse,
    ) -> None:
        self.head = head
        self.body = body
        self.interim = interim
        self.uri = uri
        self.response_type = response_type
        self.wire, self.options = encode(head, body)
        self._result: Deferred[WireResponse] | None = None

    def result(self) -> Deferred[WireResponse]:
        """Return a Deferred of the response; cancelling it aborts the call."""
        self._result = Deferred(self._cancelled)
        return self._result

    def answer(self, response: WireResponse) -> None:
        """Fire the Deferred with the response."""
        result, self._result = self._result, None
        if result is not None:
            result.callback(response)

    def fail(self, failure: Failure) -> None:
        """Fail the Deferred; does nothing for a cancelled call."""
        result, self._result = self._result, None
        if result is not None:
            result.errback(failure)

    def _cancelled(self, _: Deferred[WireResponse]) -> None:
        # The Deferred fails by itself, with a CancelledError.
        self._result = None
        self.give_up()


class IStream(ITCPTransport, IConsumer, IPushProducer):
    """The interface that TCP, Unix and TLS transports share."""


class ConnectionOwner(Face):
    """The owner of the connections."""

    def connected(self, connection: "CoreConnection") -> None:
        """Called when a connection has been made."""

    def released(self, connection: "CoreConnection") -> None:
        """Called when a connection is ready for another call."""

    def lost(self, connection: "CoreConnection") -> None:
        """Called when a connection is closed."""


#: Guards the transport's callbacks: an exception closes that connection and fails its
#: call.
_ends_call = guarded(
    "read a response of the core",
    lambda failure, connection, *_: connection.break_off(failure),
)


@implementer(IHandshakeListener)
class CoreConnection(Protocol):
    """
    A connection to the core, with at most one call at a time.

    :param pool: notified of the connection's state.
    """

    transport: IStream

    def __init__(self, pool: ConnectionOwner) -> None:
        self._pool = pool
        self._reader = ResponseReader()
        self._watch: select.poll | None = None
        self._ready: Deferred[CoreConnection] | None = None
        self._call: Call | None = None
        self._sender: BodySender | None = None
        self._response: WireResponse | None = None
        self._keep = True
        self._paused = False
        self._closing = False
        #: The socket's file descriptor, None if TLS hides HTTP.
        self.descriptor: int | None = None
        #: The time of its last release, in the clock's seconds.
        self.idle_since = 0.0

    # Called by the pool and the agent.

    def when_ready(self) -> "Deferred[CoreConnection] | CoreConnection":
        """
        Wait until requests can be written: with TLS, until both sides are
        authenticated.

        Call it once, as soon as the connection is made.
        """
        if not ISSLTransport.providedBy(self.transport):
            return self
        self._ready = Deferred(self._unwanted)
        return self._ready

    def is_quiet(self) -> bool:
        """
        Return whether an idle connection is still usable, as far as is known.

        Its end of file, or a byte that belongs to no response, may be in the kernel
        before the reactor has read it.
        """
        if self._closing:
            return False
        return self._watch is None or not self._watch.poll(0)

    @property
    def is_closed(self) -> bool:
        """Whether the connection is closed, or is being closed."""
        return self._closing

    def start(self, call: Call) -> None:
        """
        Send a request; the connection must be idle and quiet.

        The call fails at once if the connection has been closed since it was made.
        """
        if self.is_closed:
            # Its end has been reported already, and is not reported again.
            error = CoreUnreachableError("the connection was closed before the request")
            call.fail(Failure(error))
            return
        head = call.head
        self._call = call
        named = call.options
        self._keep = b"close" not in named
        self._reader.expect(
            head_only=head.method == b"HEAD",
            upgrade=bool(named) and asks_upgrade(head.fields),
        )
        call.give_up = self.abort
        self.transport.write(call.wire)
        if call.body is not None:
            self._sender = BodySender(self.transport, call.body, self._sent)
            self._sender.start()

    # Called by the response.

    def pause(self) -> None:
        """Pause reading."""
        if not self._paused:
            self._paused = True
            self.transport.pauseProducing()

    def resume(self) -> None:
        """Resume reading."""
        if self._paused:
            self._paused = False
            self.transport.resumeProducing()

    def abort(self) -> None:
        """Close the connection at once; its call ends when it is closed."""
        if not self._closing:
            self._closing = True
            self._stop_sending()
            self.transport.abortConnection()

    # Called by the transport.

    @_ends_call
    def connectionMade(self) -> None:
        """
        Called when connected: register the socket for `is_quiet`, unless TLS hides
        HTTP.
        """
        if ISystemHandle.providedBy(self.transport):
            handle = self.transport.getHandle()
            if isinstance(handle, socket.socket):
                self.descriptor = handle.fileno()
                self._watch = select.poll()
                self._watch.register(handle, select.POLLIN)
        self._pool.connected(self)

    @_ends_call
    def handshakeCompleted(self) -> None:
        """Called after the TLS handshake, which authenticates the core."""
        ready, self._ready = self._ready, None
        if ready is not None:
            ready.callback(self)

    @_ends_call
    def dataReceived(self, data: bytes) -> None:
        """Called with received bytes: parse them as a part of the response."""
        if self._closing:
            return
        call, response = self._call, self._response
        if call is None:
            # No request is under way: a close notice, or bytes that are not a response.
            self.abort()
        elif response is not None and response.head.status == _SWITCHING:
            response.receive(data)
        else:
            self._read(call, data)

    @guarded("report the end of a connection to the core")
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Called when the connection is closed: end the call; the body's producer is
        stopped.
        """
        clean = not self._closing and reason.check(ConnectionDone) is not None
        self._closing = True
        self._pool.lost(self)
        ready, self._ready = self._ready, None
        if ready is not None:
            ready.errback(reason)
        if self._call is None:
            return
        if self._response is not None and self._response.head.status == _SWITCHING:
            self._end(reason)
        elif clean and self._reader.ends_with_stream:
            self._end(DONE)
        else:
            self._end(_broken(reason))

    def _unwanted(self, _: "Deferred[CoreConnection]") -> None:
        # The Deferred fails by itself, with a CancelledError.
        self._ready = None
        self.abort()

    def _read(self, call: Call, data: bytes) -> None:
        reader = self._reader
        try:
            reader.feed(data)
        except CoreBrokenError:
            self.break_off(Failure())
            return
        if reader.interims:
            self._pass_interims(call)
        if reader.head is None or self._closing:
            return
        if self._response is None:
            self._begin(call, reader.head)
        else:
            self._go_on(self._response)

    def _begin(self, call: Call, head: ResponseHead) -> None:
        reader = self._reader
        if head.status == _SWITCHING and self._sender is not None:
            self.break_off(Failure(CoreBrokenError("a 101 before the body's end")))
            return
        response = self._response = call.response_type(
            self, WireRequest(call.head, call.uri), head, reader.minor, reader.length
        )
        if not reader.complete:
            call.answer(response)
            self._go_on(response)
            return
        # The response is complete: release the connection before the caller sends
        # again.
        response.receive(reader.take_body())
        self._complete()
        call.answer(response)

    def _go_on(self, response: WireResponse) -> None:
        if not self._closing:
            response.receive(self._reader.take_body())
        if self._closing:
            return
        if self._reader.complete:
            self._complete()
        elif not response.taken:
            self.pause()

    def _pass_interims(self, call: Call) -> None:
        interims, self._reader.interims = self._reader.interims, []
        for head in interims:
            if is_close_notice(head):
                # The notice has crossed the request, which is still answered.
                self._keep = False
            elif call.interim is not None and not self._closing:
                call.interim(head)

    def _complete(self) -> None:
        """End a complete response; keep the connection if its state is known."""
        # A response may be complete before its request.  The rest of the request would
        # be parsed as another request, so neither may continue.
        if self._sender is None and self._reader.keep_alive and self._keep:
            self.resume()
            self._pool.released(self)
        else:
            self.abort()
        self._end(DONE)

    def break_off(self, failure: Failure) -> None:
        """Close the connection at once; its call fails."""
        self.abort()
        self._end(failure)

    def _end(self, reason: Failure) -> None:
        call, self._call = self._call, None
        response, self._response = self._response, None
        if response is not None:
            response.trailers = self._reader.trailers
            response.end(reason)
        elif call is not None:
            call.fail(reason)

    def _sent(self, failure: Failure | None) -> None:
        self._sender = None
        if failure is not None:
            self.break_off(failure)

    def _stop_sending(self) -> None:
        sender, self._sender = self._sender, None
        if sender is not None:
            sender.stopProducing()


def _broken(reason: Failure) -> Failure:
    error = CoreBrokenError(f"the connection broke: {reason.getErrorMessage()}")
    error.__cause__ = reason.value
    return Failure(error)
