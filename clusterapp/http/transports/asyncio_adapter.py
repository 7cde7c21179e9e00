"""Adapter of a connection to an asyncio transport (in a worker)."""

import asyncio
import socket
from collections.abc import Callable
from struct import pack
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IAddress, ISSLTransport
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import noLongerProvides

from clusterapp.http.connection.connection import Connection
from clusterapp.http.connection.guard import ends_connection
from clusterapp.http.connection.peer_kind import PeerKind
from clusterapp.http.connection_limits import CLOSE_NOTIFY_SECONDS
from clusterapp.http.server.deadlines import Phase
from clusterapp.http.server.server_interfaces import Server, StreamChannel
from clusterapp.http.syntax.proxy_protocol import ProxyHeader
from clusterapp.http.syntax.request_head import HeadReader
from clusterapp.http.syntax.socket_addresses import address_of
from clusterapp.http.transports.asyncio_transport import AsyncioTransport
from clusterapp.http.transports.closed_transport import ClosedTransport
from clusterapp.http.transports.inline_transport import EarlyTransport, TransportEvents
from clusterapp.http.transports.sendfile import KernelWrites, write_part_of_file
from clusterapp.http.transports.shared_sockets import (
    duplicate_of,
    end_input,
    shut_down,
    unacknowledged,
)
from clusterapp.http.transports.tls_writer import TlsWriter

if TYPE_CHECKING:
    import ssl


#: The SO_LINGER value for closing with a reset (socket(7)): unsent bytes are discarded,
#: and the client sees an error rather than an orderly close.
_RESET = pack("ii", 1, 0)


class AsyncioAdapter(asyncio.Protocol):
    """
    Adapter of a new HTTP server connection to an `asyncio.Transport`.

    :param site: the site that is served.
    :param loop: the event loop that runs the connection.
    :param peer: the peer's address, as returned by accept(2).
    :param listener: the name of the listener that accepted the connection.
    :param peer_kind: what the peer is.
    :param heads: the parser of request heads with its limits; by default, the site's.
    :ivar connection: the connection.
    :ivar native: the current transport, with the methods of `asyncio.Transport`; None
        until it has been made.
    :ivar write: writes bytes to the transport; set once it has been made.
    """

    __slots__ = (
        "_announced",
        "_arriving",
        "_certificate",
        "_closes_when_written",
        "_has_duplicates",
        "_kernel_writes",
        "_loop",
        "_offered",
        "_peer",
        "_peer_name",
        "_securely",
        "_writer",
        "connection",
        "data_received",
        "encrypted",
        "native",
        "write",
    )

    def __init__(  # noqa: PLR0913 - who accepts a connection knows all of these
        self,
        site: Server,
        loop: asyncio.AbstractEventLoop,
        peer: Any,
        listener: str = "",
        *,
        peer_kind: PeerKind = PeerKind.CLIENT,
        heads: HeadReader | None = None,
    ) -> None:
        self._loop = loop
        self.native: Any = None
        self.write: Callable[[bytes], None]
        self._writer: TlsWriter | None = None
        self.encrypted = False
        self._kernel_writes: KernelWrites | None = None
        self._offered = False
        self._has_duplicates = False
        # Whether TLS is closed once the write buffer has been sent.
        self._closes_when_written = False
        self._peer: IAddress | None = None
        self._peer_name = peer
        self._announced = False
        self._securely = False
        self._certificate: bytes | None = None
        self._arriving: asyncio.Task[Any] | None = None
        self.connection = Connection(
            site, self, peer_kind, heads=heads, listener=listener
        )
        # Called for each piece of input: set here, it costs no call in between.
        self.data_received = (  # type: ignore[method-assign]
            self.connection.input.received
        )

    # Called by the server.

    @property
    def peer_host(self) -> object:
        """The client's IP address; None on a Unix socket."""
        return self._peer_name[0] if isinstance(self._peer_name, tuple) else None

    def await_proxy_header(self, task: asyncio.Task[Any]) -> None:
        """
        Register with the site while the PROXY header has not been received yet.

        :param task: the task that waits for the header; cancelled on timeout.
        """
        self.connecting(task)
        connection = self.connection
        if not connection.site.draining:
            seconds = connection.limits.header_timeout
            connection.deadlines.wait_for(Phase.REQUEST, seconds)

    def use_proxy_header(self, client: ProxyHeader) -> None:
        """
        Called with the PROXY header: use the client's address, not the proxy's.

        :param client: the PROXY header.
        """
        self._securely = client.secure
        if client.source is not None:
            self._peer_name = client.source
            self._peer = None
        self._announced = client.secure or client.source is not None

    def connecting(self, task: asyncio.Task[Any]) -> None:
        """
        Register with the site while the transport is being made.

        :param task: the task that makes the transport.
        """
        self._arriving = task
        self.connection.opened()

    @ends_connection
    def connected(self) -> None:
        """Called when the transport has been made."""
        self._arriving = None
        if self.connection.site.draining:
            self.connection.drain()

    @ends_connection
    def connecting_failed(self) -> None:
        """Called when the transport cannot be made, or is closed already."""
        self._arriving = None
        # uvloop does not call this when making the transport is cancelled.
        self.connection_lost(None)

    @ends_connection
    def move(self, early: EarlyTransport, events: TransportEvents) -> None:
        """
        Replace the early transport with the event loop's transport.

        :param early: the early transport.
        :param events: the recorded callbacks of the event loop's transport.
        """
        native = events.transport
        if native is None:  # lost already
            early.abort()
        else:
            self._use(native)
            native.set_protocol(self)
            early.hand_over(native)
            if self.connection.input.paused:
                self.pause_reading()
        events.replay(self)
        if native is not None and self.connection.site.draining:
            self.connection.drain()

    # Called by asyncio.

    @ends_connection
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called when the transport is connected."""
        layer: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        if layer is not None:
            self.encrypted = True
            # Later, OpenSSL may have dropped it: after an error of the client's TLS.
            self._certificate = layer.getpeercert(binary_form=True)
        # uvloop's transports are not instances of asyncio's classes.
        self._use(cast("asyncio.Transport", transport))
        self.connection.opened()

    def _use(self, native: asyncio.Transport) -> None:
        self.native = native
        if self.encrypted:
            self._writer = TlsWriter(native)
        self.write = native.write if self._writer is None else self._writer.write
        self.connection.write = self.write

    def pause_writing(self) -> None:
        """Called when the write buffer is full."""
        if self._writer is not None:
            self._writer.paused = True
        self.connection.writing_paused()

    @ends_connection
    def resume_writing(self) -> None:
        """Called when most of the write buffer has been sent."""
        if self._writer is not None and not self._writer.resume():
            return  # the buffer is full again
        self.connection.writing_resumed()
        if self._closes_when_written:
            self._close_tls()

    def eof_received(self) -> bool:
        """Called when the peer has closed its side; return whether to stay open."""
        stays_open = self.connection.input.ended()
        return stays_open and not self.encrypted  # TLS has no half-closed connections

    @ends_connection
    def connection_lost(self, error: Exception | None) -> None:
        """Called when the connection is lost."""
        if self._kernel_writes is not None:
            self._kernel_writes.close()
            self._kernel_writes = None
        self.connection.lost(connectionDone if error is None else Failure(_lost(error)))
        if self._writer is not None:
            # TLS transports keep their buffers, and the adapter may wait for a garbage
            # collection.
            self._writer = None
            self.native = ClosedTransport(self.native)
            self.write = self.connection.write = self.native.write

    # Called by the connection: its peer.

    def getPeer(self) -> IAddress:
        """Return the peer's address, or that of the client that its proxy names."""
        if self._peer is None:
            self._peer = address_of(self._peer_name)
        return self._peer

    def getHost(self) -> IAddress:
        """Return the address that the peer has connected to."""
        return address_of(self.native.get_extra_info("sockname"))

    @property
    def secure(self) -> bool:
        """Whether the client uses TLS, to this process or to its proxy."""
        return self.encrypted or self._securely

    def client_certificate(self) -> bytes | None:
        """Return the peer's certificate in DER, or None."""
        return self._certificate

    # Called by the connection: reading and writing.

    def pause_reading(self) -> None:
        """Stop reading from the transport."""
        if not self.native.is_closing():
            self.native.pause_reading()

    def resume_reading(self) -> None:
        """Read from the transport again."""
        if not self.native.is_closing():
            self.native.resume_reading()

    @property
    def unsent(self) -> int:
        """The number of written bytes that have not been passed to the kernel yet."""
        held = 0 if self._writer is None else self._writer.size
        return held + int(self.native.get_write_buffer_size())

    def unacknowledged(self) -> int:
        """Return how many written bytes the client has not acknowledged yet."""
        # The other process may serve an offered socket: it is not for this one to wait.
        if self.native is None or self._offered:
            return 0
        return unacknowledged(self.native.get_extra_info("socket")) + self.unsent

    def write_before_file(self, data: bytes) -> None:
        """Send a head at once, so that the kernel may put file data behind it."""
        write = self.write
        if self.encrypted or self.unsent:
            write(data)
            return
        sent = self._beside_transport().send_before_file(data)
        if sent < len(data):
            write(data[sent:])

    def send_file(self, fd: int, offset: int, length: int) -> int | None:
        """Send a part of a file with sendfile(2), if possible."""
        # TLS must encrypt the data, and it must not overtake the write buffer.
        if self.encrypted or self.unsent:
            return write_part_of_file(self.write, fd, offset, length)
        sent = self._beside_transport().send_file(fd, offset, length)
        if sent is None:
            self.connection.writing_paused()
        return sent

    def _beside_transport(self) -> KernelWrites:
        if self._kernel_writes is None:
            there = self.native.get_extra_info("socket")
            resumed = self.connection.writing_resumed
            self._kernel_writes = KernelWrites(self._loop, there, resumed)
        return self._kernel_writes

    def call_soon(self, callback: Callable[[], None]) -> asyncio.Handle:
        """Schedule a call in the next turn of the event loop."""
        return self._loop.call_soon(callback)

    # Called by the connection: closing.

    def close_writing(self) -> bool:
        """Close the write side; return False if the client has disconnected."""
        if self.encrypted:
            self._close_tls()
            return True
        try:
            self.native.write_eof()
        except OSError:  # asyncio's transports raise
            return False
        return True

    @property
    def must_linger(self) -> bool:
        """
        Whether every close has to be a lingering one.

        TLS waits for the peer's close_notify. And while another process has a
        duplicate of the socket, closing this one sends no FIN.
        """
        return self.is_connected and (self.encrypted or self._has_duplicates)

    def close(self) -> None:
        """Close the transport once everything is written."""
        if self.native is None:
            self.abort()
        elif self._writer is not None and self._writer.size:
            self._closes_when_written = True
        else:
            self.native.close()

    def _close_tls(self) -> None:
        """Send a close_notify once all is written; the transport reads on for one."""
        native, writer = self.native, self._writer
        if writer is not None and writer.size:
            self._closes_when_written = True
            return
        self._closes_when_written = bool(native.get_write_buffer_size())
        if self._closes_when_written:
            # The transport's own close() would limit the flush to the
            # ssl_shutdown_timeout, and has no callback for its end.
            native.set_write_buffer_limits(high=0)
            return
        native.close()
        self.connection.deadlines.extend(CLOSE_NOTIFY_SECONDS)

    def end_linger(self) -> None:
        """Close the transport of a connection whose write side is closed."""
        if self.encrypted:
            # Our close_notify is in the kernel, or in the buffer of the transport below
            # TLS, which closes as at the peer's EOF: it flushes its buffer first.
            end_input(self.native.get_extra_info("socket"))
        else:
            self.native.close()

    def abort(self) -> None:
        """Close the transport at once, and discard unsent bytes."""
        if self.native is None:
            if self._arriving is not None:
                self._arriving.cancel()
            return
        if self._writer is not None:
            self._writer.drop()
        there = self.native.get_extra_info("socket")
        if self._has_duplicates:
            shut_down(there)
        # On an offered socket the reset would be sent by another process's close.
        if there is not None and there.fileno() != -1 and not self._offered:
            there.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        # Not at once: asyncio's own transports are closed twice if they are aborted
        # while they call resume_writing.
        self._loop.call_soon(self._abort_native)

    @ends_connection
    def _abort_native(self) -> None:
        self.native.abort()

    # Called by the connection: transferring it to another process.

    @property
    def is_connected(self) -> bool:
        """Whether the transport has been made."""
        return self.native is not None

    @property
    def can_be_offered(self) -> bool:
        """Whether the connection may be offered to another process now."""
        # Of an early transport nothing is offered, only of the one that replaces it.
        return not (self._offered or isinstance(self.native, EarlyTransport))

    def offer(self) -> socket.socket | None:
        """Return a duplicate of the socket; None if it has state of this process."""
        # TLS state, or a PROXY header once read, cannot be had from the socket again.
        if self.encrypted or self._announced:
            return None
        duplicate = duplicate_of(self.native.get_extra_info("socket"))
        self._offered = duplicate is not None
        return duplicate

    def withdraw(self, *, duplicated: bool) -> None:
        """Take the offer back; other processes may still hold duplicates."""
        self._offered = False
        self._has_duplicates |= duplicated

    # Called by the connection: the raw stream.

    def raw_transport(self, connection: StreamChannel) -> AsyncioTransport:
        """Return a new transport object for code that asks for the raw stream."""
        return AsyncioTransport(connection, self)

    def detached(self, transport: AsyncioTransport) -> None:
        """Called when a resource detaches the transport for a protocol of its own."""
        if self.connection.peer.encrypted:
            # autobahn expects an ISSLTransport to be based on pyOpenSSL, and fails.
            noLongerProvides(transport, ISSLTransport)


def _lost(error: Exception) -> ConnectionLost:
    lost = ConnectionLost(str(error))
    lost.__cause__ = error
    return lost
