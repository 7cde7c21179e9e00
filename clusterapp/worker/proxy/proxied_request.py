"""
One request that is forwarded to an upstream, and its response.

It is sent by way of treq.  This is a chain of callbacks rather than a coroutine, which
takes longer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from zope.interface import implementer

from clusterapp.errors import CoreBrokenError, CoreError, CoreUnreachableError
from clusterapp.http.application.response_body import EVENT_STREAM
from clusterapp.http.exchange.exchange import Exchange
from clusterapp.http.syntax.message_head import (
    RequestHead,
    ResponseHead,
    end_to_end,
    values,
)
from clusterapp.http.upstream.forwarding_client import ForwardingClient, received
from clusterapp.http.upstream.tunnel import bridge
from clusterapp.http.upstream.upstream_response import WireResponse
from clusterapp.system.turn_end import TurnEnd
from clusterapp.worker.proxy.readiness import Readiness
from clusterapp.worker.proxy.stream_drain import StreamDrain
from clusterapp.worker.proxy.upstream_timeouts import UpstreamTimeout

#: The seconds before a core that refuses connections is tried again.
RETRY_SECONDS = 0.1

_SWITCHING = 101


class CoreSlowError(CoreError):
    """The core has received a request and has not begun to answer it in time."""


class CoreCutError(CoreError):
    """The core has closed the connection within a response already begun."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """
    An upstream: the core, or one other worker.

    :param name: the name of the upstream in error messages.
    :param clock: the reactor's clock.
    :param client: the treq client on the agent with the connections to the upstream.
    :param readiness: whether the upstream is ready.
    :param timeout: the timeout of requests on which nothing moves: the upstream
        neither receives more of the request nor begins to answer.
    :param stream_drain: the response bodies that would not end by themselves.
    :param turn_end: sends complete responses to their clients at the end of the loop's
        turn, one after the other, so that fewer processes are woken up in between; None
        to send each as it comes.
    """

    name: str
    clock: IReactorTime
    client: ForwardingClient
    readiness: Readiness
    timeout: UpstreamTimeout
    stream_drain: StreamDrain
    turn_end: TurnEnd | None = None


class ProxiedRequest:
    """
    One request that is forwarded.

    :param upstream: the upstream.
    :param head: the request head to send to the upstream.
    :param exchange: the client's request, and the way to respond to it.
    :param until: the deadline for an upstream that is not ready, as a clock time.
    :param ended: called once, at the end: with None when the whole response has been
        passed on, with a failure otherwise. Before anything has been sent to the client
        that is a CoreUnreachableError, when the upstream has received nothing; a
        CoreBrokenError, when it has closed the connection or does not speak HTTP; or a
        CoreSlowError. After the response has begun it is a CoreCutError; the exchange
        has been aborted then.
    """

    __slots__ = (
        "_ended",
        "_exchange",
        "_head",
        "_late",
        "_under_way",
        "_until",
        "_upstream",
    )

    #: The step that is waited for: readiness, the response head, its body, the end of
    #: the loop's turn or a retry.
    _under_way: Deferred[Any]

    def __init__(
        self,
        upstream: Upstream,
        head: RequestHead,
        exchange: Exchange,
        until: float,
        ended: Callable[["ProxiedRequest", Failure | None], None],
    ) -> None:
        self._upstream = upstream
        self._head = head
        self._exchange = exchange
        self._until = until
        self._ended = ended
        self._late = False

    @property
    def name(self) -> str:
        """The name of the upstream in error messages."""
        return self._upstream.name

    @property
    def exchange(self) -> Exchange:
        """The client's request, and the way to respond to it."""
        return self._exchange

    def begin(self) -> None:
        """Send the request as soon as the upstream is ready."""
        if self._upstream.readiness.ready:
            self._ask()
        else:
            self._wait()

    def give_up(self, _: object = None) -> None:
        """Cancel the current step; the request ends with a CancelledError."""
        self._under_way.cancel()

    def expire(self) -> None:
        """Called when the upstream timeout has passed: cancel, with a CoreSlowError."""
        self._late = True
        self._under_way.cancel()

    def _wait(self, _: object = None) -> None:
        waiting = self._upstream.readiness.wait(self._until)
        self._under_way = waiting
        waiting.addCallback(self._ask).addErrback(self._fail)

    def _ask(self, _: object = None) -> None:
        exchange, timeout = self._exchange, self._upstream.timeout
        body = None
        if exchange.length != 0:
            body = exchange.body
            body.watch(self._progress)
        timeout.begin(self)
        sent = self._upstream.client.send(self._head, body, self._interim)
        # Set before the callbacks are added: they may be called at once, and set the
        # next step.
        self._under_way = sent
        sent.addCallbacks(self._answered, self._unanswered)
        sent.addErrback(self._fail)

    def _progress(self) -> None:
        self._upstream.timeout.restart(self)

    def _interim(self, head: ResponseHead) -> None:
        self._exchange.interim(forwarded_head(head))

    def _unanswered(self, failure: Failure) -> Failure | None:
        clock, timeout = self._upstream.clock, self._upstream.timeout
        timeout.end(self)
        if self._late:
            return Failure(CoreSlowError(f"no answer within {timeout.seconds:g} s"))
        unreachable = failure.check(CoreUnreachableError)
        if not unreachable or clock.seconds() + RETRY_SECONDS > self._until:
            return failure
        self._under_way = deferLater(clock, RETRY_SECONDS)
        self._under_way.addCallback(self._wait).addErrback(self._fail)
        return None

    def _answered(self, answer: Any) -> None:
        response, turn_end = received(answer), self._upstream.turn_end
        self._upstream.timeout.end(self)
        if turn_end is None or not response.whole:
            self._respond(response)
            return
        waiting: Deferred[WireResponse] = Deferred()
        self._under_way = waiting
        waiting.addCallback(self._respond).addErrback(self._fail)
        turn_end.add(partial(waiting.callback, response))

    def _respond(self, response: WireResponse) -> None:
        exchange, head = self._exchange, response.head
        if head.status == _SWITCHING:
            _switch(exchange, response)
            self._ended(self, None)
            return
        try:
            exchange.respond(forwarded_head(head), response.take_body())
        except ValueError as error:
            response.abort()
            raise CoreBrokenError(
                f"its response cannot be passed on: {error}"
            ) from error
        if not response.whole:
            self._relay(response)
            return
        exchange.finish(end_to_end(response.trailers))
        self._ended(self, None)

    def _relay(self, response: WireResponse) -> None:
        body = Relayed(self._exchange, response)
        self._under_way = body.done
        response.deliverBody(body)
        if _is_endless(response.head) and not body.done.called:
            # Adding it may end it at once, while a drain is on.
            self._upstream.stream_drain.add(body)
        body.done.addBoth(self._relayed, body)

    def _relayed(self, result: Failure | None, body: "Relayed") -> None:
        self._upstream.stream_drain.discard(body)
        if result is not None and result.check(CoreBrokenError):
            result = Failure(
                CoreCutError(f"its response is incomplete: {result.value}")
            )
        self._ended(self, result)

    def _fail(self, failure: Failure) -> None:
        self._ended(self, failure)


def _is_endless(head: ResponseHead) -> bool:
    kinds = values(head.fields, b"content-type")
    streams = any(kind.lower().startswith(EVENT_STREAM) for kind in kinds)
    return streams and not values(head.fields, b"content-length")


def forwarded_head(head: ResponseHead) -> ResponseHead:
    """Return a response head without its hop-by-hop fields, for the client."""
    return ResponseHead(head.status, head.reason, end_to_end(head.fields))


def _switch(exchange: Exchange, response: WireResponse) -> None:
    head = forwarded_head(response.head)
    exchange.respond(
        ResponseHead(head.status, head.reason, [*head.fields, *UPGRADE_FIELDS])
    )
    bridge(exchange.upgrade, response.upgrade)


#: The hop-by-hop fields of a WebSocket handshake (RFC 6455, section 4).
UPGRADE_FIELDS = ((b"Upgrade", b"websocket"), (b"Connection", b"Upgrade"))


@implementer(IPushProducer)
class Relayed(Protocol):
    """A response body passed on to the client, with the client's backpressure."""

    transport: Any

    def __init__(self, exchange: Exchange, response: WireResponse) -> None:
        self._exchange = exchange
        self._response = response
        self.done: Deferred[None] = Deferred(self._cancelled)

    def connectionMade(self) -> None:
        """Register this object as the producer of the response to the client."""
        self._exchange.register(self)

    def dataReceived(self, data: bytes) -> None:
        """Write received data to the client."""
        self._exchange.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Finish the response, or abort it if the upstream's was incomplete."""
        if self.done.called:
            return
        if reason.check(ResponseDone):
            self._exchange.finish(end_to_end(self._response.trailers))
            self.done.callback(None)
        else:
            self._exchange.abort()
            self.done.errback(reason)

    def pauseProducing(self) -> None:
        """Pause reading from the upstream."""
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Resume reading from the upstream."""
        self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """Do nothing: ``exchange.gone`` reports that the client has disconnected."""

    def end(self) -> None:
        """End the response to the client now, and abort the upstream's."""
        self._exchange.finish()
        self.done.callback(None)
        self._response.abort()

    def _cancelled(self, _done: Deferred[None]) -> None:
        self._response.abort()
