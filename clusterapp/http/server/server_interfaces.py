"""What the parts of the HTTP server need of each other."""

from contextvars import Context
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.interfaces import IAddress, IProducer, IProtocol, IReactorTime
from twisted.python.failure import Failure

from clusterapp.channel.request_record import RequestRecord
from clusterapp.http.access_log.access_record import Recorder
from clusterapp.http.connection_limits import Limits
from clusterapp.http.server.deadlines import Deadlines
from clusterapp.http.server.drain_policy import DrainPolicy
from clusterapp.http.server.load_counters import LoadCounters
from clusterapp.http.server.prepared_response import Answer
from clusterapp.http.server.trusted_peers import Proxies
from clusterapp.http.syntax.client_origin import Origin
from clusterapp.http.syntax.request_head import Head, HeadReader
from clusterapp.interfaces import Fields

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable


class Message(Protocol):
    """The object that answers one request."""

    #: The status of the error response when the request timeout is over.
    late_status: HTTPStatus

    @property
    def responded(self) -> bool:
        """Whether any part of the response has been sent."""

    def outcome(self) -> tuple[int, int]:
        """Return the status sent, 0 if none, and the number of body bytes so far."""

    def serve(self) -> None:
        """Called for a request without a body: answer it, now or later."""

    def begin(self) -> None:
        """Called for a request with a body, before any of the body is received."""

    def completed(self, trailers: Fields) -> None:
        """Called when the request body is complete."""

    def expected(self) -> None:
        """Called when the client waits for 100 Continue before it sends the body."""

    def received(self, piece: bytes) -> None:
        """Called with each piece of the request body."""

    def ending(self) -> bytes | None:
        """
        Return the bytes that complete a response that would not end by itself.

        :return: None if the response will end by itself.
        """

    def abort_response(self) -> None:
        """Abort the connection, so that the client sees an incomplete response."""

    def fail(self, reason: Failure) -> None:
        """
        Called when producing the response has failed: end it, and log the reason.

        The client gets an error response if nothing has been sent; otherwise the
        connection is aborted.
        """

    def lose(self, reason: Failure) -> None:
        """Called when the connection is lost, or the request will not be answered."""


class Sink(Protocol):
    """The receiver of a request body."""

    def received(self, piece: bytes) -> None:
        """Called with each piece of the body."""

    def completed(self, trailers: Fields) -> None:
        """Called when the body is complete."""


class Server(Protocol):
    """What a connection, and a message on it, need of their server: its site."""

    clock: IReactorTime
    limits: Limits
    heads: HeadReader
    counters: LoadCounters
    #: The current time, to within a second or two, while there are connections.
    now: float
    #: The header lines that every response has, made at the time of `now`.
    lines: bytes
    #: The number of connections whose input waits for the next event-loop turn.
    waiting: int
    #: The number of requests answered so far.
    requests: int
    draining: bool
    drain_policy: DrainPolicy
    #: Returns the prepared response to a request, or None.
    answer: Answer | None
    #: The writer of the access log.
    recorder: Recorder | None
    request_record: RequestRecord | None
    proxies: Proxies
    names_requests: bool
    failure_page: "Callable[[Failure], bytes] | None"
    #: The context that is copied for each request's context variables.
    context: Context

    def opened(self, connection: "ServerConnection") -> None:
        """Called when a connection is opened."""

    def closed(self, connection: "ServerConnection") -> None:
        """Called when a connection is closed."""

    def message(self, head: Head, connection: Any) -> Message:
        """Return a new message, which will answer the request."""


class ServerConnection(Protocol):
    """What a server needs of its connections: their timeouts, and closing them."""

    #: The name of the listener that accepted the connection; empty if not known.
    listener: str
    deadlines: Deadlines

    @property
    def is_relay(self) -> bool:
        """Whether the peer is a worker that relays requests of its clients."""

    @property
    def is_slow(self) -> bool:
        """Whether the body arrives below the minimum rate, if known already."""

    @property
    def has_been_read(self) -> bool:
        """Whether only the client's closing is awaited: it has acknowledged all."""

    @property
    def active(self) -> bool:
        """Whether a request is being answered."""

    @property
    def can_be_asked_to_close(self) -> bool:
        """Whether the connection is idle, and the agent was not asked to close it."""

    def ask_to_close(self) -> None:
        """Ask the agent at the other end to close the idle connection."""

    def under_way(self) -> tuple[bytes, bytes, str | None, float] | None:
        """Return method, target, client and age of the current request, or None."""

    def overdue(self, now: float) -> None:
        """Called when a deadline of the connection has passed."""

    def drain(self) -> None:
        """Start to drain."""

    def end_early(self) -> None:
        """Close the connection now, since file descriptors are scarce."""

    def end_late(self) -> None:
        """Close the connection now, since the graceful timeout is over."""


class Cancellable(Protocol):
    """A scheduled call: Twisted's `IDelayedCall`, asyncio's `Handle`."""

    def cancel(self) -> None:
        """Cancel the call."""


class TransportAdapter(Protocol):
    """
    What a connection needs of its transport: one adapter for each kind of event loop.

    It also sets the `write` of its connection, which is the transport's own.
    """

    # The other end.

    def getPeer(self) -> IAddress:
        """Return the peer's address, or that of the client that its proxy names."""

    def getHost(self) -> IAddress:
        """Return the address that the peer has connected to."""

    @property
    def encrypted(self) -> bool:
        """Whether the transport itself uses TLS."""

    @property
    def secure(self) -> bool:
        """Whether the client uses TLS, to this process or to a proxy that says so."""

    def client_certificate(self) -> bytes | None:
        """Return the peer's certificate in DER, or None."""

    # Reading and writing.

    def pause_reading(self) -> None:
        """Stop reading from the transport."""

    def resume_reading(self) -> None:
        """Read from the transport again."""

    @property
    def unsent(self) -> int:
        """The number of written bytes that have not been passed to the kernel yet."""

    def unacknowledged(self) -> int:
        """Return how many written bytes the client has not acknowledged yet."""

    def write_before_file(self, data: bytes) -> None:
        """
        Write bytes that a part of a file follows at once.

        :raises OSError: if the client has disconnected.
        """

    def send_file(self, fd: int, offset: int, length: int) -> int | None:
        """
        Send a part of a file.

        :param fd: the file descriptor of the file.
        :param offset: the offset of the part, in bytes.
        :param length: the length of the part, in bytes.
        :return: the number of bytes written, 0 at the end of the file; None if the
            client must read first.
        :raises OSError: if the file cannot be read, or the client has disconnected.
        """

    def call_soon(self, callback: "Callable[[], None]") -> Cancellable:
        """Schedule a call in the next turn of the event loop."""

    # Closing.

    def close_writing(self) -> bool:
        """Close the write side; return False if the client has disconnected."""

    @property
    def must_linger(self) -> bool:
        """Whether every close has to be a lingering one, as over TLS."""

    def close(self) -> None:
        """Close the transport once everything is written."""

    def end_linger(self) -> None:
        """Close the transport of a connection whose write side is closed."""

    def abort(self) -> None:
        """Close the transport at once, and discard unsent bytes."""

    # Transferring it to another process.

    @property
    def is_connected(self) -> bool:
        """Whether the transport has been made."""

    @property
    def can_be_offered(self) -> bool:
        """Whether the connection may be offered to another process now."""

    def offer(self) -> "socket.socket | None":
        """Return a duplicate of the socket; None if it has state of this process."""

    def withdraw(self, *, duplicated: bool) -> None:
        """Take the offer back; `duplicated` if others may hold the socket."""

    # The raw stream.

    def raw_transport(self, connection: "StreamChannel") -> Any:
        """Return a new transport object for code that asks for the raw stream."""

    def detached(self, transport: Any) -> None:
        """Called when a resource detaches the transport for a protocol of its own."""


class Channel(Protocol):
    """What a message needs of its connection; twisted.web's requests call it so."""

    site: Server
    listener: str

    @property
    def switched(self) -> bool:
        """Whether the connection has been upgraded."""

    @property
    def transport(self) -> Any:
        """The raw stream as an `ITransport`."""

    @property
    def origin(self) -> Origin:
        """The addresses, TLS state and certificate of the client's connection."""

    @property
    def will_close(self) -> bool:
        """Whether the connection is closed after the current response."""

    def getPeer(self) -> IAddress:
        """Return the client's address."""

    def getHost(self) -> IAddress:
        """Return the address that the client has connected to."""

    def isSecure(self) -> bool:
        """Return whether the client uses TLS, as far as the connection shows."""

    # Receiving the request.

    def send_continue(self) -> None:
        """Send 100 Continue to a client that waits for it before it sends the body."""

    def pause_reading(self) -> None:
        """Pause reading from the client."""

    def resume_reading(self) -> None:
        """Resume reading from the client."""

    # Sending the response.

    def write(self, data: bytes) -> None:
        """Write bytes to the client."""

    def writeSequence(self, pieces: list[bytes]) -> None:
        """Write the pieces to the client, joined."""

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Register a producer, which is paused and resumed as the client reads."""

    def unregisterProducer(self) -> None:
        """Unregister the producer."""

    def connection_header(self, version: bytes) -> bytes:
        """Return the Connection header line of a response; empty if none is needed."""

    def close_after(self) -> None:
        """Close the connection after the current response."""

    def response_ended(self, status: int, sent: int) -> None:
        """Called when the response is complete; the request body may not be."""

    def hand_over(self, protocol: IProtocol) -> None:
        """Upgrade the connection: connect a protocol to the raw stream."""

    # When the response cannot be completed.

    def refuse_request(self, status: HTTPStatus) -> None:
        """Answer the current request with an error response, and close."""

    def abort_response(self, message: Message) -> None:
        """Abort the connection, so that the client sees an incomplete response."""

    def fail(self, failure: Failure) -> None:
        """Close the connection after an exception in one of its callbacks."""

    def linger(self) -> None:
        """Close with a lingering close, so that the client can read the response."""

    def abortConnection(self) -> None:
        """Abort the connection: close at once, so that the client sees an error."""


class Peer(Protocol):
    """What the raw stream of a request needs of the peer of its connection."""

    @property
    def encrypted(self) -> bool:
        """Whether the client's connection itself uses TLS."""

    @property
    def certificate(self) -> bytes | None:
        """The client certificate in DER, or None."""


class Upgrade(Protocol):
    """What the raw stream of a request tells its connection of its use."""

    def take_over(self, protocol: IProtocol) -> None:
        """Upgrade to a protocol that has assigned itself to the transport."""

    def pause(self) -> None:
        """Called when code that uses the transport pauses it: pause reading."""

    def resume(self) -> None:
        """Called when code that uses the transport resumes it: resume reading."""


class StreamChannel(Channel, Protocol):
    """What the raw stream of a request needs of its connection."""

    deadlines: Deadlines

    @property
    def peer(self) -> Peer:
        """The peer of the connection, and the client of the current request."""

    @property
    def upgrade(self) -> Upgrade:
        """The use of the raw stream by other code than the server's."""

    def loseConnection(self) -> None:
        """Close the connection once everything is written."""
