"""A response of the core (in a worker)."""

from typing import Final, Protocol

from twisted.internet.interfaces import IProtocol, IPushProducer, ITransport
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http_headers import Headers
from twisted.web.iweb import IClientRequest, IResponse
from zope.interface import implementer

from clusterapp.http.syntax.message_head import RequestHead, ResponseHead
from clusterapp.http.upstream.forwarded_headers import NO_HEADERS
from clusterapp.interfaces import Fields

#: The reason at the end of a complete body.  One for all, like Twisted's
#: connectionDone.
DONE: Final = Failure(ResponseDone())

_SWITCHING: Final = 101


class ResponseConnection(Protocol):
    """The connection of a response, until the response is complete."""

    @property
    def transport(self) -> ITransport:
        """The transport, for the protocol after a 101."""

    def pause(self) -> None:
        """Pause reading."""

    def resume(self) -> None:
        """Resume reading."""

    def abort(self) -> None:
        """Close the connection at once; the response ends when it is closed."""


@implementer(IClientRequest)
class WireRequest:
    """
    The request of a response, as in `IResponse.request`.

    :param head: the head, as it was passed to the agent.
    :param uri: the absolute URI, if it is known.
    """

    __slots__ = ("_head", "absoluteURI")

    def __init__(self, head: RequestHead, uri: bytes | None) -> None:
        self._head = head
        self.absoluteURI = uri

    @property
    def method(self) -> bytes:
        """The method, such as ``b"GET"``."""
        return self._head.method

    @property
    def headers(self) -> Headers:
        """A copy of the header fields."""
        return _headers(self._head.fields)


@implementer(IResponse)
class WireResponse:
    """
    A response of the core, from the moment its head has been received.

    Its body, or the stream after a 101, remains in the kernel until :meth:`deliverBody`
    or :meth:`upgrade`.  A caller that wants neither calls :meth:`abort`.

    :param source: the connection.
    :param request: the request.
    :param head: the response's head.
    :param minor: the minor version of HTTP.
    :param length: the length of the body, or UNKNOWN_LENGTH.
    """

    __slots__ = (
        "_headers",
        "_held",
        "_protocol",
        "_reason",
        "_source",
        "head",
        "length",
        "previousResponse",
        "request",
        "trailers",
        "version",
    )

    def __init__(
        self,
        source: ResponseConnection,
        request: WireRequest,
        head: ResponseHead,
        minor: int,
        length: int | str,
    ) -> None:
        self._source = source
        self._held: list[bytes] = []
        self._protocol: IProtocol | None = None
        self._reason: Failure | None = None
        self._headers: Headers | None = None
        self.head = head
        self.length = length
        self.version = (b"HTTP", 1, minor)
        self.request = request
        self.previousResponse: IResponse | None = None
        #: The trailer fields; complete once the body is done.
        self.trailers: Fields = ()

    @property
    def code(self) -> int:
        """The status code."""
        return self.head.status

    @property
    def phrase(self) -> bytes:
        """The reason phrase."""
        return self.head.reason

    @property
    def headers(self) -> Headers:
        """The header fields."""
        if self._headers is None:
            self._headers = _headers(self.head.fields)
        return self._headers

    def setPreviousResponse(self, response: IResponse) -> None:
        """Set the response that redirected to this one."""
        self.previousResponse = response

    def deliverBody(self, protocol: IProtocol) -> None:
        """
        Deliver the body to a protocol.

        Its transport has ``pauseProducing`` and ``resumeProducing``, which apply
        backpressure to the core, and ``stopProducing``, ``abortConnection`` and
        ``loseConnection``, which close the connection.  Its ``connectionLost`` gets a
        ResponseDone for a complete body, or a CoreBrokenError.

        :raise RuntimeError: if the body has been delivered before, or there is none
            because the connection has switched protocols.
        """
        if self.head.status == _SWITCHING:
            raise RuntimeError("a 101 has no body: use upgrade")
        # Twisted, too, passes a mere producer where IProtocol has an ITransport.
        self._give_to(protocol, BodyTransport(self))  # type: ignore[arg-type]

    def upgrade(self, protocol: IProtocol) -> None:
        """
        Connect a protocol to the raw stream that follows a 101.

        Bytes that were read already are delivered at once; from then on the transport
        is the protocol's own.  Its ``connectionLost`` gets the transport's reason.

        :raise RuntimeError: if the status is not 101, or the stream has been taken
            before.
        """
        if self.head.status != _SWITCHING:
            raise RuntimeError(f"a {self.head.status} does not switch protocols")
        self._give_to(protocol, self._source.transport)

    @property
    def whole(self) -> bool:
        """Whether the complete body has been received."""
        return self._reason is DONE

    def take_body(self) -> bytes:
        """
        Return the part of the body that has been received; it is not delivered then.

        It is the complete body if the response is :attr:`whole`.
        """
        held, self._held = self._held, []
        return held[0] if len(held) == 1 else b"".join(held)

    def abort(self) -> None:
        """Close the connection: the rest of the body is not wanted."""
        # After the response's end, the connection may serve another call.
        if self._reason is None:
            self._source.abort()

    # Called by the connection.

    @property
    def taken(self) -> bool:
        """Whether a protocol receives the body, or the stream."""
        return self._protocol is not None

    def receive(self, data: bytes) -> None:
        """Deliver received bytes, or keep them until a protocol is connected."""
        if not data:
            return
        if self._protocol is None:
            self._held.append(data)
        else:
            self._protocol.dataReceived(data)

    def end(self, reason: Failure) -> None:
        """Called at the end of the response: notify the protocol of the reason."""
        self._reason = reason
        if self._protocol is not None:
            self._protocol.connectionLost(reason)

    # Called by the body's transport.

    def pause(self) -> None:
        """Pause reading from the core."""
        if self._reason is None:
            self._source.pause()

    def resume(self) -> None:
        """Resume reading from the core."""
        if self._reason is None:
            self._source.resume()

    def _give_to(self, protocol: IProtocol, transport: ITransport) -> None:
        if self._protocol is not None:
            raise RuntimeError("the body can be taken once only")
        self._protocol = protocol
        # Before it is connected: the protocol may pause reading then.
        self.resume()
        protocol.makeConnection(transport)
        held, self._held = self._held, []
        if held:
            protocol.dataReceived(b"".join(held))
        if self._reason is not None:
            protocol.connectionLost(self._reason)


class ForwardedResponse(WireResponse):
    """
    A response to forward: its fields are in `head` only.

    So that code between the agent and the proxy does not read or change them.
    """

    __slots__ = ()

    @property
    def headers(self) -> Headers:
        """No header fields."""
        return NO_HEADERS


@implementer(IPushProducer)
class BodyTransport:
    """The transport of the protocol that receives a body."""

    __slots__ = ("_response",)

    def __init__(self, response: WireResponse) -> None:
        self._response = response

    def pauseProducing(self) -> None:
        """Pause reading from the core."""
        self._response.pause()

    def resumeProducing(self) -> None:
        """Resume reading from the core."""
        self._response.resume()

    def stopProducing(self) -> None:
        """Close the connection: the rest of the body is not wanted."""
        self._response.abort()

    abortConnection = stopProducing
    loseConnection = stopProducing


def _headers(fields: Fields) -> Headers:
    headers = Headers()
    for name, value in fields:
        headers.addRawHeader(name, value)
    return headers
