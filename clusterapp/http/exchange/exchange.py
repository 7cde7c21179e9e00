"""One request and its response, streamed: what a server offers to a forwarder."""

from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IProtocol, IPushProducer

from clusterapp.http.exchange.request_body import IncomingBody
from clusterapp.http.syntax.client_origin import Origin
from clusterapp.http.syntax.message_head import ResponseHead
from clusterapp.interfaces import Fields


class Exchange(Protocol):
    """
    A request whose head is complete and whose body has not been read.

    Both directions are independent: the response may begin, and end, before
    the body has come. Once the client has gone, what is written is dropped.
    """

    @property
    def method(self) -> bytes:
        """The method, as the client wrote it."""

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
        """The body's length in bytes, 0 without a body, `None` if in chunks."""

    @property
    def peer(self) -> IAddress:
        """The client that the connection is of, or a proxy before us."""

    @property
    def origin(self) -> Origin:
        """The connection that it has come by, or another worker has taken it from."""

    @property
    def wants_upgrade(self) -> bool:
        """Whether the client asks to speak WebSocket (RFC 6455, section 4.1)."""

    @property
    def body(self) -> IncomingBody:
        """The request's body, an `IBodyProducer`."""

    @property
    def gone(self) -> Deferred[None]:
        """Fires when the client goes away before the response has ended."""

    def interim(self, head: ResponseHead) -> None:
        """
        Send a 1xx response; clients that speak HTTP/1.0 get none.

        :raises ValueError: if the head cannot be written as it is.
        """

    def respond(self, head: ResponseHead, body: bytes = b"") -> None:
        """
        Begin the response, with exactly these fields.

        Framing is added: the body is chunked if no ``Content-Length`` is given
        (to HTTP/1.0 clients: ended by the connection's end), and
        ``Connection: close`` says if the connection will not be kept.

        :param body: what there is of the body already; it goes out with the head.
        :raises ValueError: if the head cannot be written as it is, or the body is
            longer than it says; nothing has been sent then.
        :raises RuntimeError: if the response has begun before.
        """

    def write(self, body: bytes) -> None:
        """
        Send a piece of the response's body.

        :raises ValueError: if there is more than ``Content-Length`` announced.
        """

    def finish(self, trailers: Fields = ()) -> None:
        """
        End the response.

        A body that is shorter than its ``Content-Length`` is broken off. What
        the client still sends of the request's body is read and thrown away,
        up to a bound; beyond it the connection is closed.

        :param trailers: fields after the body, dropped if it is not chunked.
        """

    def abort(self) -> None:
        """
        Break the response off, so that the client sees it is incomplete.

        A response that has ended stays as it is.
        """

    def register(self, producer: IPushProducer) -> None:
        """Pause and resume the producer as the client reads; see `IConsumer`."""

    def unregister(self) -> None:
        """Forget the producer."""

    def upgrade(self, protocol: IProtocol) -> None:
        """
        Connect a protocol to the raw stream, after a 101 was responded.

        What the client has already sent after its request is delivered first.
        """


#: Asked for a request's target when its head is complete: gives who will respond, or
#: None for what is not forwarded.
Forward = Callable[[bytes], Callable[[Exchange], object] | None]
