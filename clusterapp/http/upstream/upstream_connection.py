"""One connection to the core (in a worker), and the call that is on it."""

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

from clusterapp.errors import CoreBrokenError
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
    A request that waits for its response's head.

    :param head: the request's head.
    :param body: the producer of its body.
    :param interim: called with each 1xx response.
    :param uri: the absolute URI, if it is known.
    :raise ValueError: for a head that cannot be written.
    """

    __slots__ = (
        "_result",
        "body",
        "give_up",
        "head",
        "interim",
        "options",
        "uri",
        "wire",
    )

    #: How to give up what is under way for the call.
    give_up: Callable[[], object]

    def __init__(
        self,
        head: RequestHead,
        body: IBodyProducer | None,
        interim: Callable[[ResponseHead], None] | None,
        uri: bytes | None,
    ) -> None:
        self.head = head
        self.body = body
        self.interim = interim
        self.uri = uri
        self.wire, self.options = encode(head, body)
        self._result: Deferred[WireResponse] | None = None

    def result(self) -> Deferred[WireResponse]:
        """Make the Deferred of the response; cancelling it gives the call up."""
        self._result = Deferred(self._cancelled)
        return self._result

    def answer(self, response: WireResponse) -> None:
        """Hand over the response."""
        result, self._result = self._result, None
        if result is not None:
            result.callback(response)

    def fail(self, failure: Failure) -> None:
        """Say that there will be no response; does nothing for a cancelled call."""
        result, self._result = self._result, None
        if result is not None:
            result.errback(failure)

    def _cancelled(self, _: Deferred[WireResponse]) -> None:
        # The Deferred fails by itself, with a CancelledError.
        self._result = None
        self.give_up()


class IStream(ITCPTransport, IConsumer, IPushProducer):
    """What TCP, Unix and TLS transports have in common."""


class Pool(Face):
    """Whoever keeps the connections."""

    def connected(self, connection: "CoreConnection") -> None:
        """A connection has been made."""

    def released(self, connection: "CoreConnection") -> None:
        """A connection may carry another call."""

    def lost(self, connection: "CoreConnection") -> None:
        """A connection is gone."""


#: Guards what the transport calls: an exception ends that connection and its call.
_ends_call = guarded(
    "read a response of the core",
    lambda failure, connection, *_: connection.break_off(failure),
)


@implementer(IHandshakeListener)
class CoreConnection(Protocol):
    """
    A connection to the core, with at most one call on it.

    :param pool: told of the connection's life.
    """

    transport: IStream

    def __init__(self, pool: Pool) -> None:
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
        #: When it was released last, in the clock's seconds.
        self.idle_since = 0.0

    # What the pool and the agent call.

    def when_ready(self) -> "Deferred[CoreConnection] | CoreConnection":
        """
        Wait until requests can be written: over TLS, until both sides are known.

        Call it once, as soon as the connection is made.
        """
        if not ISSLTransport.providedBy(self.transport):
            return self
        self._ready = Deferred(self._unwanted)
        return self._ready

    def is_quiet(self) -> bool:
        """
        Look whether an idle connection is still good, as far as one can see.

        Its end, or a byte that belongs to no request, may wait in the kernel when
        the reactor has not come to it yet.
        """
        if self._closing:
            return False
        return self._watch is None or not self._watch.poll(0)

    def start(self, call: Call) -> None:
        """Send a request; the connection is idle and quiet."""
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

    # What the response calls.

    def pause(self) -> None:
        """Read nothing for now."""
        if not self._paused:
            self._paused = True
            self.transport.pauseProducing()

    def resume(self) -> None:
        """Read on."""
        if self._paused:
            self._paused = False
            self.transport.resumeProducing()

    def abort(self) -> None:
        """Close the connection at once; its call ends when it is closed."""
        if not self._closing:
            self._closing = True
            self._stop_sending()
            self.transport.abortConnection()

    # What the transport calls.

    @_ends_call
    def connectionMade(self) -> None:
        """Find the socket, where there is one that shows HTTP's own bytes."""
        if ISystemHandle.providedBy(self.transport):
            handle = self.transport.getHandle()
            if isinstance(handle, socket.socket):
                self._watch = select.poll()
                self._watch.register(handle, select.POLLIN)
        self._pool.connected(self)

    @_ends_call
    def handshakeCompleted(self) -> None:
        """Let the first request go: the core is who it should be."""
        ready, self._ready = self._ready, None
        if ready is not None:
            ready.callback(self)

    @_ends_call
    def dataReceived(self, data: bytes) -> None:
        """Read a piece of the response."""
        if self._closing:
            return
        call, response = self._call, self._response
        if call is None:
            # Nothing was asked: this is a close notice, or no response at all.
            self.abort()
        elif response is not None and response.head.status == _SWITCHING:
            response.receive(data)
        else:
            self._read(call, data)

    @guarded("tell of the end of a connection to the core")
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """End what is under way; the transport has stopped the body, if any."""
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
        response = self._response = WireResponse(
            self, WireRequest(call.head, call.uri), head, reader.minor, reader.length
        )
        if not reader.complete:
            call.answer(response)
            self._go_on(response)
            return
        # All of it is here: the connection is free before anybody asks again.
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
                # It has crossed the request, which is answered all the same.
                self._keep = False
            elif call.interim is not None and not self._closing:
                call.interim(head)

    def _complete(self) -> None:
        """End a whole response; keep the connection if its state is known."""
        # An answer may come before the end of its request.  The rest of that would
        # be taken for another request, so neither may go on.
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
