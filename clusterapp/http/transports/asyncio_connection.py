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

from clusterapp.http.connection_limits import (
    CLOSE_NOTIFY_SECONDS,
    FIRST_REQUEST_SECONDS,
)
from clusterapp.http.server.connection import Connection
from clusterapp.http.server.deadlines import Phase
from clusterapp.http.server.interfaces import Server
from clusterapp.http.server.wire import ends_connection
from clusterapp.http.syntax.proxy_protocol import ProxyHeader
from clusterapp.http.syntax.socket_addresses import address_of
from clusterapp.http.transports.asyncio_transport import NativeTransport
from clusterapp.http.transports.inline_transport import Arrival, EarlyTransport
from clusterapp.http.transports.sendfile import KernelWrites
from clusterapp.http.transports.shared_sockets import (
    duplicate_of,
    end_input,
    shut_down,
    unacknowledged,
)

if TYPE_CHECKING:
    import ssl


#: The SO_LINGER value for closing with a reset (socket(7)): unsent bytes are discarded,
#: and the client sees an error rather than an orderly close.
_RESET = pack("ii", 1, 0)


class NativeConnection(Connection, asyncio.Protocol):
    """
    HTTP server connection on an `asyncio.Transport`.

    :param site: the site that is served.
    :param loop: the event loop that runs the connection.
    :param peer: the client's address, as returned by accept(2).
    :param listener: the name of the listener that accepted the connection.
    """

    __slots__ = (
        "_announced",
        "_arriving",
        "_closes_when_written",
        "_has_duplicates",
        "_kernel_writes",
        "_lent",
        "_loop",
        "_native",
        "_peer",
        "_peer_closed",
        "_peer_name",
        "_secure",
        "_securely",
        "listener",
        "write",
    )

    def __init__(
        self,
        site: Server,
        loop: asyncio.AbstractEventLoop,
        peer: Any,
        listener: str = "",
    ) -> None:
        super().__init__(site)
        self.listener = listener
        self._loop = loop
        self._native: Any = None
        self._kernel_writes: KernelWrites | None = None
        self._lent = False
        self._has_duplicates = False
        # Whether TLS is closed once the write buffer has been sent.
        self._closes_when_written = False
        self._peer: IAddress | None = None
        # Whether the peer has closed its side while pipelined requests of it wait.
        self._peer_closed = False
        self._peer_name = peer
        self._announced = False
        self._securely = False
        self._arriving: asyncio.Task[Any] | None = None

    # Called by the server.

    @property
    def peer_host(self) -> object:
        """The client's IP address; None on a Unix socket."""
        return self._peer_name[0] if isinstance(self._peer_name, tuple) else None

    def awaits_header(self, task: asyncio.Task[Any]) -> None:
        """
        Register with the site while the PROXY header has not been received yet.

        :param task: the task that waits for the header; cancelled on timeout.
        """
        self.arrives(task)
        if not self.site.draining:
            self.deadlines.wait_for(Phase.REQUEST, self.limits.header_timeout)

    def announced(self, client: ProxyHeader) -> None:
        """
        Called with the PROXY header: use the client's address, not the proxy's.

        :param client: the PROXY header.
        """
        self._securely = client.secure
        if client.source is not None:
            self._peer_name = client.source
        self._announced = client.secure or client.source is not None
        self._origin = None

    def arrives(self, task: asyncio.Task[Any]) -> None:
        """
        Register with the site while the transport is being made.

        :param task: the task that makes the transport.
        """
        self._arriving = task
        self.opened()

    @ends_connection
    def arrived(self) -> None:
        """Called when the transport has been made."""
        self._arriving = None
        if self.site.draining:
            self.drain()

    @ends_connection
    def never_arrived(self) -> None:
        """Called when the transport cannot be made, or is closed already."""
        self._arriving = None
        # uvloop does not call this when making the transport is cancelled.
        self.connection_lost(None)

    @ends_connection
    def move(self, early: EarlyTransport, arrival: Arrival) -> None:
        """
        Replace the early transport with the event loop's transport.

        :param early: the early transport.
        :param arrival: the recorded callbacks of the event loop's transport.
        """
        native = arrival.transport
        if native is not None:
            self._use(native)
            native.set_protocol(self)
            early.hand_over(native)
            if self._reading_paused:
                self._stop_reading()
        arrival.tell(self)
        if native is not None and self.site.draining:
            self.drain()

    # Called by asyncio.

    @ends_connection
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called when the transport is connected."""
        # uvloop's transports are not instances of asyncio's classes.
        self._use(cast("asyncio.Transport", transport))
        self._secure = self._native.get_extra_info("sslcontext") is not None
        self.opened()

    def _use(self, native: asyncio.Transport) -> None:
        self._native = native
        self.write = native.write  # type: ignore[method-assign]  # saves one call

    data_received = Connection.received
    pause_writing = Connection.writing_paused

    @ends_connection
    def resume_writing(self) -> None:
        """Called when most of the write buffer has been sent."""
        self.writing_resumed()
        if self._closes_when_written:
            self._close_tls()

    def eof_received(self) -> bool:
        """
        Called when the peer has closed its side: close the connection.

        As for twisted.web, a client that half-closes is taken to have disconnected.

        :return: whether the transport stays open, until the pipelined requests that
            wait have been served, or pending input has been passed to the protocol of
            an upgraded connection.
        """
        stream = self._protocol
        if self._input_closed:
            self._end_with_peer()
            return False
        if stream is not None and stream.waiting:
            stream.ended()
            return not self._secure  # TLS has no half-closed connections
        self._peer_closed = self._next_turn is not None
        if not self._peer_closed:
            self._end_with_peer()
        return self._peer_closed

    def _take_turn(self) -> None:
        super()._take_turn()
        if self._peer_closed and self._next_turn is None:
            self._end_with_peer()

    @ends_connection
    def _end_with_peer(self) -> None:
        if self._input_closed:
            # Both sides are closed. The transport that replaced an early transport
            # stays open at the peer's EOF until it is closed here.
            if not self._secure:
                self._native.close()
            return
        self._client_closes = True
        message = self._message
        if message is not None and (
            message.responded or self._native.get_write_buffer_size()
        ):
            # The client must not take a partial response for a complete one, nor
            # should its producer have to wait until the write buffer is sent.
            self.abortConnection()
        else:
            self.loseConnection()

    @ends_connection
    def connection_lost(self, error: Exception | None) -> None:
        """Called when the connection is lost."""
        if self._kernel_writes is not None:
            self._kernel_writes.close()
            self._kernel_writes = None
        self.lost(connectionDone if error is None else Failure(_lost(error)))

    # Called by the base classes, and by `NativeTransport`.

    @property
    def native(self) -> Any:
        """The current transport, with the methods of `asyncio.Transport`."""
        return self._native

    def _make_face(self) -> NativeTransport:
        return NativeTransport(self)

    def _take_away(self) -> None:
        if self.encrypted and not self._taken:
            # autobahn expects an ISSLTransport to be based on pyOpenSSL, and fails.
            noLongerProvides(self.transport, ISSLTransport)
        super()._take_away()

    @ends_connection
    def drain(self) -> None:
        """Start to drain; without a transport, keep the connection here."""
        if self._native is None:
            self.keep()  # until the transport has been made
        else:
            super().drain()

    def offer_fd(self) -> socket.socket | None:
        """Pause reading, and return a duplicate of the socket, or None."""
        native = self._native
        # A request may have arrived first. Of an early transport nothing is offered,
        # only of the transport that replaces it.
        if self._lent or not self._is_idle or isinstance(native, EarlyTransport):
            return None
        if native.get_write_buffer_size():
            # Until the site's next check of timeouts.
            self.deadlines.wait_for(Phase.REST, 0)
            return None
        # TLS state, or a PROXY header once read, cannot be had from the socket again.
        stays = self._secure or self._announced
        copy = None if stays else duplicate_of(native.get_extra_info("socket"))
        if copy is None:
            self._keep_connection()
        else:
            self.pause_reading()
            self._lent = True
        return copy

    @ends_connection
    def keep(self) -> None:
        """Keep the draining connection in this process: it is not offered any more."""
        self._lent = False
        super().keep()

    @ends_connection
    def reclaim(self) -> None:
        """Do as `keep`, although other processes may hold duplicates of the socket."""
        self._has_duplicates = True
        self.keep()
        # Reading was paused for a while: leave time to read what arrived meanwhile.
        soon = self.site.clock.seconds() + FIRST_REQUEST_SECONDS
        self.deadlines.at = max(self.deadlines.at, soon)

    @ends_connection
    def transferred(self) -> None:
        """Called when another process has the connection: close this descriptor."""
        self._input_closed = True
        self._native.close()

    def getPeer(self) -> IAddress:
        """Return the client's address."""
        if self._peer is None:
            self._peer = address_of(self._peer_name)
        return self._peer

    def getHost(self) -> IAddress:
        """Return the address that the client has connected to."""
        return address_of(self._native.get_extra_info("sockname"))

    @property
    def encrypted(self) -> bool:
        """Whether the connection itself uses TLS."""
        return self._secure

    def client_certificate(self) -> bytes | None:
        """Return the client certificate in DER, or None."""
        if not self._secure:
            return None
        layer: ssl.SSLObject | None = self._native.get_extra_info("ssl_object")
        return None if layer is None else layer.getpeercert(binary_form=True)

    def isSecure(self) -> bool:
        """Return whether the client uses TLS, to this process or to its proxy."""
        return self._secure or self._securely

    def write_before_file(self, data: bytes) -> None:
        """Send a head at once, so that the kernel may put file data behind it."""
        if self._secure or self._native.get_write_buffer_size():
            self.write(data)
            return
        try:
            sent = self._beside_transport().send_before_file(data)
        except OSError:
            self.abortConnection()
            return
        if sent < len(data):
            self.write(data[sent:])

    def send_file(self, fd: int, offset: int, length: int) -> int:
        """Send a part of a file with sendfile(2), if possible."""
        # TLS must encrypt the data, and it must not overtake the write buffer.
        if self._secure or self._native.get_write_buffer_size():
            return super().send_file(fd, offset, length)
        try:
            sent = self._beside_transport().send_file(fd, offset, length)
        except OSError as error:
            self._file_failed(error)
            return 0
        if sent is None:
            self.writing_paused()
            return 0
        if not sent:
            self._file_failed()
        return sent

    def _call_soon(self, callback: Callable[[], None]) -> asyncio.Handle:
        return self._loop.call_soon(callback)

    def _beside_transport(self) -> KernelWrites:
        if self._kernel_writes is None:
            there = self._native.get_extra_info("socket")
            self._kernel_writes = KernelWrites(self._loop, there, self.writing_resumed)
        return self._kernel_writes

    def _stop_reading(self) -> None:
        if not self._native.is_closing():
            self._native.pause_reading()

    def _start_reading(self) -> None:
        if not self._native.is_closing():
            self._native.resume_reading()

    def _close_writing(self) -> bool:
        if self._secure:
            self._close_tls()
            return True
        try:
            self._native.write_eof()
        except OSError:  # the client has disconnected; asyncio's transports raise
            return False
        return True

    def _close(self) -> None:
        if self._native is None:
            self._abort()
        elif self._secure or self._has_duplicates:
            # TLS waits for the peer's close_notify. And while another process has a
            # duplicate of the socket, closing this one sends no FIN.
            self.linger(CLOSE_NOTIFY_SECONDS)
        else:
            self._native.close()

    def _needs_linger(self) -> bool:
        # The other process may serve an offered socket: its write side stays open.
        return not self._lent and super()._needs_linger()

    def unacknowledged(self) -> int:
        """Return how many written bytes the client has not acknowledged yet."""
        native = self._native
        if native is None:
            return 0
        in_kernel = unacknowledged(native.get_extra_info("socket"))
        return in_kernel + int(native.get_write_buffer_size())

    def _is_flushed(self) -> bool:
        return not self._native.get_write_buffer_size()

    def _close_tls(self) -> None:
        """Send a close_notify once all is written; the transport reads on for one."""
        native = self._native
        self._closes_when_written = bool(native.get_write_buffer_size())
        if self._closes_when_written:
            # The transport's own close() would limit the flush to the
            # ssl_shutdown_timeout, and has no callback for its end.
            native.set_write_buffer_limits(high=0)
            return
        native.close()
        soon = self.site.clock.seconds() + CLOSE_NOTIFY_SECONDS
        self.deadlines.at = max(self.deadlines.at, soon)

    def _end_linger(self) -> None:
        if self._secure:
            # Our close_notify is in the kernel, or in the buffer of the transport below
            # TLS, which closes as at the peer's EOF: it flushes its buffer first.
            end_input(self._native.get_extra_info("socket"))
        else:
            self._native.close()

    def _abort(self) -> None:
        if self._native is None:
            if self._arriving is not None:
                self._arriving.cancel()
            return
        there = self._native.get_extra_info("socket")
        if self._has_duplicates:
            shut_down(there)
        # On an offered socket the reset would be sent by another process's close.
        if there is not None and there.fileno() != -1 and not self._lent:
            there.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        # Not at once: asyncio's own transports are closed twice if they are aborted
        # while they call resume_writing.
        self._loop.call_soon(self._abort_native)

    @ends_connection
    def _abort_native(self) -> None:
        self._native.abort()


def _lost(error: Exception) -> ConnectionLost:
    lost = ConnectionLost(str(error))
    lost.__cause__ = error
    return lost
