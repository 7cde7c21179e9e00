"""One request on its way to the core, and its response on the way back."""

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from clusterapp.errors import CoreBrokenError, CoreError
from clusterapp.http.agent import CoreAgent
from clusterapp.http.bridge import bridge
from clusterapp.http.exchange import Exchange
from clusterapp.http.messages import RequestHead, ResponseHead, end_to_end, values
from clusterapp.http.response import WireResponse
from clusterapp.web.cluster import core_client

_SWITCHING = 101


class CoreSlowError(CoreError):
    """The core has taken a request, and does not answer it in time."""


class CoreCutError(CoreError):
    """The core has gone within its response, which the client has seen begin."""


async def ask(
    clock: IReactorTime,
    agent: CoreAgent,
    head: RequestHead,
    exchange: Exchange,
    *,
    seconds: float,
) -> WireResponse:
    """
    Send a client's request to the core, body and all.

    :param head: what the core is to receive.
    :param seconds: how long the core may do nothing: neither take more of the
        body nor answer.
    :return: the response, once its head is there.
    :raises CoreUnreachableError: the core has received nothing.
    :raises CoreBrokenError: the core has gone, or does not speak HTTP.
    :raises CoreSlowError: the time is over.
    """
    once = _Once(agent, head, exchange)
    body = exchange.body if exchange.length != 0 else None
    sent = core_client(once).request(
        head.method.decode("ascii"),
        "http://core/",  # `_Once` sends the target that the client wrote
        data=body,
        allow_redirects=False,
        unbuffered=True,
        reactor=clock,  # type: ignore[arg-type]  # only for treq's own timeout
    )
    patience = _Patience(clock, seconds, sent)
    exchange.body.watch(patience.restart)
    try:
        await sent
    except CancelledError:
        if patience.over:
            raise CoreSlowError(f"no answer within {seconds:g} s") from None
        raise
    finally:
        patience.stop()
    return once.response


async def relay(
    exchange: Exchange, response: WireResponse, endless: set["Relayed"]
) -> None:
    """
    Give the core's response to the client, and return when it is complete.

    :param endless: holds the body meanwhile, if it is one without an end.
    :raises CoreBrokenError: it cannot be passed on; the client has seen nothing.
    :raises CoreCutError: it is incomplete; the exchange has been aborted.
    """
    if response.head.status == _SWITCHING:
        _switch(exchange, response)
        return
    try:
        exchange.respond(passed_on(response.head))
    except ValueError as error:
        response.abort()
        raise CoreBrokenError(f"its response cannot be passed on: {error}") from error
    body = Relayed(exchange, response)
    if _is_endless(response.head):
        endless.add(body)
    response.deliverBody(body)
    try:
        await body.done
    except CoreBrokenError as error:
        raise CoreCutError(f"its response is incomplete: {error}") from error
    finally:
        endless.discard(body)


def _is_endless(head: ResponseHead) -> bool:
    # Server-Sent Events: browsers come back for more by themselves (HTML, 9.2).
    kinds = values(head.fields, b"content-type")
    return any(kind.lower().startswith(b"text/event-stream") for kind in kinds)


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


class _Patience:
    """Cancels a Deferred when nothing has moved for a time."""

    def __init__(
        self, clock: IReactorTime, seconds: float, waiting: Deferred[Any]
    ) -> None:
        self.over = False
        self._seconds = seconds
        self._waiting = waiting
        self._call = clock.callLater(seconds, self._expire)

    def restart(self) -> None:
        if self._call.active():
            self._call.reset(self._seconds)

    def stop(self) -> None:
        if self._call.active():
            self._call.cancel()

    def _expire(self) -> None:
        self.over = True
        self._waiting.cancel()


@implementer(IAgent)
class _Once:
    """
    The agent of one request: sends what the client wrote, whatever treq says.

    treq normalizes URLs, keeps no order of fields and decodes what is encoded:
    here the head goes past it on the way out, and the response on the way back.
    """

    response: WireResponse

    def __init__(self, agent: CoreAgent, head: RequestHead, exchange: Exchange) -> None:
        self._agent = agent
        self._head = head
        self._exchange = exchange

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        """Send the request."""
        del method, uri, headers  # the head says it all
        sent = self._agent.send(self._head, bodyProducer, self._interim)
        return sent.addCallback(self._keep)

    def _interim(self, head: ResponseHead) -> None:
        self._exchange.interim(passed_on(head))

    def _keep(self, response: WireResponse) -> IResponse:
        self.response = response
        return response


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
