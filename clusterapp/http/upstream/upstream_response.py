"""What came back from the core (in a worker)."""

from typing import Final, Protocol

from twisted.internet.interfaces import IProtocol, IPushProducer, ITransport
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http_headers import Headers
from twisted.web.iweb import IClientRequest, IResponse
from zope.interface import implementer

from clusterapp.http.syntax.message_head import RequestHead, ResponseHead
from clusterapp.interfaces import Fields

#: A body is whole.  One for all, as Twisted's own connectionDone is.
DONE: Final = Failure(ResponseDone())

_SWITCHING: Final = 101


class Source(Protocol):
    """The connection that a response comes from, as long as it does."""

    @property
    def transport(self) -> ITransport:
        """The transport, for who takes the stream after a 101."""

    def pause(self) -> None:
        """Read nothing for now."""

    def resume(self) -> None:
        """Read on."""

    def abort(self) -> None:
        """Close the connection at once; the response ends when it is closed."""


@implementer(IClientRequest)
class WireRequest:
    """
    What was asked, for those who find it in the response.

    :param head: the head, as it was given.
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
    A response of the core, from the moment its head has come.

    Its body, or the stream after a 101, waits in the kernel until :meth:`deliverBody`
    or :meth:`upgrade`.  Who wants neither calls :meth:`abort`.

    :param source: the connection.
    :param request: what was asked.
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
        source: Source,
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
        #: The fields after the body; all of them once the body is done.
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
        """All the header fields."""
        if self._headers is None:
            self._headers = _headers(self.head.fields)
        return self._headers

    def setPreviousResponse(self, response: IResponse) -> None:
        """Note the response that was a redirection to this one."""
        self.previousResponse = response

    def deliverBody(self, protocol: IProtocol) -> None:
        """
        Give the body to a protocol.

        Its transport has ``pauseProducing`` and ``resumeProducing``, which hold the
        core back, and ``stopProducing``, ``abortConnection`` and ``loseConnection``,
        which close the connection.  Its ``connectionLost`` gets a ResponseDone for a
        whole body, or a CoreBrokenError.

        :raise RuntimeError: when the body has been taken before, or there is none
            because the connection has switched protocols.
        """
        if self.head.status == _SWITCHING:
            raise RuntimeError("a 101 has no body: use upgrade")
        # Twisted, too, passes a mere producer where IProtocol says ITransport.
        self._give_to(protocol, BodyTransport(self))  # type: ignore[arg-type]

    def upgrade(self, protocol: IProtocol) -> None:
        """
        Connect a protocol to the raw stream that follows a 101.

        What has been read is delivered at once; from then on the transport is the
        protocol's own.  Its ``connectionLost`` gets the transport's reason.

        :raise RuntimeError: when the status is not 101, or the stream is taken.
        """
        if self.head.status != _SWITCHING:
            raise RuntimeError(f"a {self.head.status} does not switch protocols")
        self._give_to(protocol, self._source.transport)

    @property
    def whole(self) -> bool:
        """Whether all of the body has come."""
        return self._reason is DONE

    def take_body(self) -> bytes:
        """
        Take what has come of the body; it is not delivered then.

        That is all of it if the response is :attr:`whole`.
        """
        held, self._held = self._held, []
        return held[0] if len(held) == 1 else b"".join(held)

    def abort(self) -> None:
        """Close the connection: no more of the body is wanted."""
        # After its end, the connection may be another's.
        if self._reason is None:
            self._source.abort()

    # What the connection calls.

    @property
    def taken(self) -> bool:
        """Whether somebody takes the body, or the stream."""
        return self._protocol is not None

    def receive(self, data: bytes) -> None:
        """Pass on what has come, if anything, or hold it until somebody takes it."""
        if not data:
            return
        if self._protocol is None:
            self._held.append(data)
        else:
            self._protocol.dataReceived(data)

    def end(self, reason: Failure) -> None:
        """Tell that no more will come, and why."""
        self._reason = reason
        if self._protocol is not None:
            self._protocol.connectionLost(reason)

    # What the body's transport calls.

    def pause(self) -> None:
        """Hold the core back."""
        if self._reason is None:
            self._source.pause()

    def resume(self) -> None:
        """Let the core go on."""
        if self._reason is None:
            self._source.resume()

    def _give_to(self, protocol: IProtocol, transport: ITransport) -> None:
        if self._protocol is not None:
            raise RuntimeError("the body can be taken once only")
        self._protocol = protocol
        # It may pause us as soon as it is connected; that shall hold.
        self.resume()
        protocol.makeConnection(transport)
        held, self._held = self._held, []
        if held:
            protocol.dataReceived(b"".join(held))
        if self._reason is not None:
            protocol.connectionLost(self._reason)


@implementer(IPushProducer)
class BodyTransport:
    """What the receiver of a body sees as its transport."""

    __slots__ = ("_response",)

    def __init__(self, response: WireResponse) -> None:
        self._response = response

    def pauseProducing(self) -> None:
        """Hold the core back."""
        self._response.pause()

    def resumeProducing(self) -> None:
        """Let the core go on."""
        self._response.resume()

    def stopProducing(self) -> None:
        """Close the connection: no more of the body is wanted."""
        self._response.abort()

    abortConnection = stopProducing
    loseConnection = stopProducing


def _headers(fields: Fields) -> Headers:
    headers = Headers()
    for name, value in fields:
        headers.addRawHeader(name, value)
    return headers
