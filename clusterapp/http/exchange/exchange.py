"""Interface of a streamed exchange: one request and its response, for a handler."""

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IProtocol, IPushProducer

from clusterapp.http.exchange.request_body import IncomingBody
from clusterapp.http.syntax.client_origin import Origin
from clusterapp.http.syntax.message_head import ResponseHead
from clusterapp.http.syntax.request_head import Head
from clusterapp.interfaces import Fields


class Exchange(Protocol):
    """
    Streamed exchange: a request with a complete head and a body not yet read.

    Both directions are independent: the response may start, and end, before the
    request body has been received. Once the client has disconnected, writes are
    dropped.
    """

    @property
    def method(self) -> bytes:
        """The request method, as sent by the client."""

    @property
    def target(self) -> bytes:
        """The request target, byte for byte (RFC 9112, section 3.2)."""

    @property
    def version(self) -> bytes:
        """``b"HTTP/1.0"`` or ``b"HTTP/1.1"``."""

    @property
    def fields(self) -> Fields:
        """The header fields, in their order and spelling."""

    @property
    def length(self) -> int | None:
        """The body length in bytes, 0 without a body, `None` if chunked."""

    @property
    def peer(self) -> IAddress:
        """The address of the client, or of a proxy in front of the cluster."""

    @property
    def origin(self) -> Origin:
        """The client's connection, to this process or to the worker that relays."""

    @property
    def wants_upgrade(self) -> bool:
        """Whether the client requests an upgrade to WebSocket (RFC 6455, 4.1)."""

    @property
    def body(self) -> IncomingBody:
        """The request body, an `IBodyProducer`."""

    @property
    def gone(self) -> Deferred[None]:
        """A Deferred that fires if the client disconnects before the response ends."""

    def interim(self, head: ResponseHead) -> None:
        """
        Send a 1xx response, except to an HTTP/1.0 client.

        :raises ValueError: if the head cannot be encoded.
        """

    def respond(self, head: ResponseHead, body: bytes = b"") -> None:
        """
        Start the response, with exactly these header fields.

        Framing is added: the body is chunked if it has no ``Content-Length`` (for
        HTTP/1.0 clients: ended by closing the connection), and ``Connection: close``
        is sent if the connection will not be kept alive.

        :param body: the available part of the body, sent together with the head.
        :raises ValueError: if the head cannot be encoded, or the body is longer than
            its ``Content-Length``; nothing has been sent then.
        :raises RuntimeError: if the response has started before.
        """

    def write(self, body: bytes) -> None:
        """
        Send a piece of the response body.

        :raises ValueError: if the body exceeds its ``Content-Length``.
        """

    def finish(self, trailers: Fields = ()) -> None:
        """
        Complete the response.

        A response whose body is shorter than its ``Content-Length`` is aborted. The
        rest of the request body is read and discarded up to a bound; beyond it the
        connection is closed.

        :param trailers: the trailer fields, dropped if the body is not chunked.
        """

    def abort(self) -> None:
        """
        Abort the response, so that the client sees that it is incomplete.

        Nothing is done if the response has been completed.
        """

    def register(self, producer: IPushProducer) -> None:
        """Pause and resume the producer as the client reads; see `IConsumer`."""

    def unregister(self) -> None:
        """Unregister the producer."""

    def upgrade(self, protocol: IProtocol) -> None:
        """
        Connect a protocol to the raw stream, after a 101 response was sent.

        Bytes that the client has sent behind its request are delivered first.
        """


#: A Klein, and the route that has been found in it for a request.
FoundRoute = tuple[Any, Any]

#: Called with the head of a request when it is complete. Returns the handler that will
#: respond; for a request that is not forwarded, its route, or None if it has to be
#: found yet.
Forward = Callable[[Head], Callable[[Exchange], object] | FoundRoute | None]
