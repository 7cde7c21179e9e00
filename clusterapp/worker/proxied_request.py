"""
One request on its way to the core, and its response on the way back.

This is a chain of callbacks rather than a coroutine, and asks the agent itself rather
than treq: with them a request took three times as long.
"""

from collections.abc import Callable
from dataclasses import dataclass
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
from clusterapp.http.upstream.core_agent import CoreAgent
from clusterapp.http.upstream.tunnel import bridge
from clusterapp.http.upstream.upstream_response import WireResponse
from clusterapp.worker.readiness import Readiness
from clusterapp.worker.stream_drain import StreamDrain
from clusterapp.worker.upstream_timeouts import Patience

#: How long to wait before a core that refuses connections is tried again, in s.
RETRY_SECONDS = 0.1

_SWITCHING = 101


class CoreSlowError(CoreError):
    """The core has taken a request, and does not answer it in time."""


class CoreCutError(CoreError):
    """The core has gone within its response, which the client has seen begin."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """
    What all requests on their way to the core have in common, or to one worker.

    :param whom: to whom they go, in the words of errors.
    :param clock: keeps the time.
    :param agent: holds the connections to the core.
    :param readiness: whether the core is there.
    :param patience: how long the core may neither take more of a request nor begin
        to answer.
    :param endless: holds the bodies that would not end by themselves.
    """

    whom: str
    clock: IReactorTime
    agent: CoreAgent
    readiness: Readiness
    patience: Patience
    endless: StreamDrain


class ProxiedRequest:
    """
    One request that is forwarded.

    :param way: what it has in common with the others.
    :param head: what the core is to receive.
    :param exchange: the request, and where its response goes.
    :param until: the latest time to wait for a core that is not there, on the clock.
    :param ended: called once, when there is nothing left to do: with None when the
        client has the whole response, with what went wrong otherwise.  That is a
        CoreUnreachableError, when the core has received nothing; a CoreBrokenError,
        when it has gone or does not speak HTTP; a CoreSlowError; all of these before
        the client has seen anything.  A CoreCutError comes when the client has seen
        some; the exchange has been aborted then.
    """

    __slots__ = (
        "_ended",
        "_exchange",
        "_head",
        "_late",
        "_under_way",
        "_until",
        "_way",
    )

    #: What is waited for.
    _under_way: Deferred[Any]

    def __init__(
        self,
        way: Upstream,
        head: RequestHead,
        exchange: Exchange,
        until: float,
        ended: Callable[["ProxiedRequest", Failure | None], None],
    ) -> None:
        self._way = way
        self._head = head
        self._exchange = exchange
        self._until = until
        self._ended = ended
        self._late = False

    @property
    def whom(self) -> str:
        """To whom it goes, in the words of errors."""
        return self._way.whom

    @property
    def exchange(self) -> Exchange:
        """The request, and where its response goes."""
        return self._exchange

    def begin(self) -> None:
        """Ask the core, as soon as it is there."""
        if self._way.readiness.ready:
            self._ask()
        else:
            self._wait()

    def give_up(self, _: object = None) -> None:
        """Stop whatever is under way; it ends with a CancelledError."""
        self._under_way.cancel()

    def expire(self) -> None:
        """Stop waiting for an answer: the core's time is over."""
        self._late = True
        self._under_way.cancel()

    def _wait(self, _: object = None) -> None:
        waiting = self._way.readiness.wait(self._until)
        self._under_way = waiting
        waiting.addCallback(self._ask).addErrback(self._fail)

    def _ask(self, _: object = None) -> None:
        exchange, patience = self._exchange, self._way.patience
        body = None
        if exchange.length != 0:
            body = exchange.body
            body.watch(self._progress)
        patience.begin(self)
        sent = self._way.agent.send(self._head, body, self._interim)
        # Before the callbacks: they may be called at once, and wait for something else.
        self._under_way = sent
        sent.addCallbacks(self._answered, self._unanswered)
        sent.addErrback(self._fail)

    def _progress(self) -> None:
        self._way.patience.restart(self)

    def _interim(self, head: ResponseHead) -> None:
        self._exchange.interim(passed_on(head))

    def _unanswered(self, failure: Failure) -> Failure | None:
        clock, patience = self._way.clock, self._way.patience
        patience.end(self)
        if self._late:
            return Failure(CoreSlowError(f"no answer within {patience.seconds:g} s"))
        unreachable = failure.check(CoreUnreachableError)
        if not unreachable or clock.seconds() + RETRY_SECONDS > self._until:
            return failure
        self._under_way = deferLater(clock, RETRY_SECONDS)
        self._under_way.addCallback(self._wait).addErrback(self._fail)
        return None

    def _answered(self, response: WireResponse) -> None:
        self._way.patience.end(self)
        exchange, head = self._exchange, response.head
        if head.status == _SWITCHING:
            _switch(exchange, response)
            self._ended(self, None)
            return
        try:
            exchange.respond(passed_on(head), response.take_body())
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
            # It may be ended at once.
            self._way.endless.add(body)
        body.done.addBoth(self._relayed, body)

    def _relayed(self, result: Failure | None, body: "Relayed") -> None:
        self._way.endless.discard(body)
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


def passed_on(head: ResponseHead) -> ResponseHead:
    """Return what the client is to see of a response's head."""
    return ResponseHead(head.status, head.reason, end_to_end(head.fields))


def _switch(exchange: Exchange, response: WireResponse) -> None:
    head = passed_on(response.head)
    exchange.respond(
        ResponseHead(head.status, head.reason, [*head.fields, *UPGRADE_FIELDS])
    )
    bridge(exchange.upgrade, response.upgrade)


#: The hop-by-hop fields of a WebSocket handshake (RFC 6455, section 4).
UPGRADE_FIELDS = ((b"Upgrade", b"websocket"), (b"Connection", b"Upgrade"))


@implementer(IPushProducer)
class Relayed(Protocol):
    """The body of a response, passed on as fast as the client reads."""

    transport: Any

    def __init__(self, exchange: Exchange, response: WireResponse) -> None:
        self._exchange = exchange
        self._response = response
        self.done: Deferred[None] = Deferred(self._cancelled)

    def connectionMade(self) -> None:
        """Let the client set the pace."""
        self._exchange.register(self)

    def dataReceived(self, data: bytes) -> None:
        """Pass a piece on."""
        self._exchange.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Pass the end on, or break off."""
        if self.done.called:
            return
        if reason.check(ResponseDone):
            self._exchange.finish(end_to_end(self._response.trailers))
            self.done.callback(None)
        else:
            self._exchange.abort()
            self.done.errback(reason)

    def pauseProducing(self) -> None:
        """Read no more from the core."""
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Read on."""
        self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """Nothing: that the client has gone is told by ``exchange.gone``."""

    def end(self) -> None:
        """End the response here, as if the core had."""
        self._exchange.finish()
        self.done.callback(None)
        self._response.abort()

    def _cancelled(self, _done: Deferred[None]) -> None:
        self._response.abort()
