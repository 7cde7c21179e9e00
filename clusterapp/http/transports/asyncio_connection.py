"""The face of a connection on one of asyncio's transports, as workers have them."""

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

from clusterapp.http.limits import (
    CLOSE_NOTIFY_SECONDS,
    FIRST_REQUEST_SECONDS,
    LINGER_SECONDS,
)
from clusterapp.http.server.connection import Connection
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
)

if TYPE_CHECKING:
    import ssl

    from clusterapp.http.server.site import ClusterSite

#: Close with a reset (socket(7)): what was not sent is dropped, and the client sees
#: that the end is no proper one.
_RESET = pack("ii", 1, 0)


class NativeConnection(Connection, asyncio.Protocol):
    """
    A connection on an `asyncio.Transport`.

    :param site: what is served.
    :param loop: the event loop that runs it.
    :param peer: the client's address, as accept(2) gives it.
    :param door: the name of the listener that it has come by.
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
        "door",
        "write",
    )

    def __init__(
        self,
        site: "ClusterSite",
        loop: asyncio.AbstractEventLoop,
        peer: Any,
        door: str = "",
    ) -> None:
        super().__init__(site)
        self.door = door
        self._loop = loop
        self._native: Any = None
        self._kernel_writes: KernelWrites | None = None
        self._lent = False
        self._has_duplicates = False
        # Whether TLS is closed when the client has taken what was written.
        self._closes_when_written = False
        self._peer: IAddress | None = None
        # Whether the client has ended its side while requests of it wait.
        self._peer_closed = False
        self._peer_name = peer
        self._announced = False
        self._securely = False
        self._arriving: asyncio.Task[Any] | None = None

    # From the server.

    @property
    def peer_host(self) -> object:
        """The client's IP address; None if it has none."""
        return self._peer_name[0] if isinstance(self._peer_name, tuple) else None

    def awaits_header(self, task: asyncio.Task[Any]) -> None:
        """
        Count as a connection of the site until its proxy has announced a client.

        :param task: waits for that; it is cancelled when the time is over.
        """
        self.arrives(task)
        if not self.site.draining:
            self._wait_for("request", self.limits.header_timeout)

    def announced(self, client: ProxyHeader) -> None:
        """
        Be the client's connection, rather than the proxy's.

        :param client: what the proxy has said.
        """
        self._securely = client.secure
        if client.source is not None:
            self._peer_name = client.source
        self._announced = client.secure or client.source is not None
        self._origin = None

    def arrives(self, task: asyncio.Task[Any]) -> None:
        """
        Count as a connection of the site while the transport is being made.

        :param task: makes the transport.
        """
        self._arriving = task
        self.opened()

    @ends_connection
    def arrived(self) -> None:
        """Know that the transport is there."""
        self._arriving = None
        if self.site.draining:
            self.drain()

    @ends_connection
    def never_arrived(self) -> None:
        """Know that it will never be there, or is gone already."""
        self._arriving = None
        # uvloop does not tell this of a transport whose making is cancelled.
        self.connection_lost(None)

    @ends_connection
    def move(self, early: EarlyTransport, arrival: Arrival) -> None:
        """
        Go on where the first transport leaves off.

        :param early: the first transport.
        :param arrival: what its successor has told.
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

    # From asyncio.

    @ends_connection
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        # uvloop's are of no class of asyncio's.
        self._use(cast("asyncio.Transport", transport))
        self._secure = self._native.get_extra_info("sslcontext") is not None
        self.opened()

    def _use(self, native: asyncio.Transport) -> None:
        self._native = native
        self.write = native.write  # type: ignore[method-assign]  # one call less

    data_received = Connection.received
    pause_writing = Connection.writing_paused

    @ends_connection
    def resume_writing(self) -> None:
        """Called when the client has taken most of what was written."""
        self.writing_resumed()
        if self._closes_when_written:
            self._closes_when_written = False
            self._close_tls()

    def eof_received(self) -> bool:
        """
        Close: as for twisted.web, a client that sends no more has gone.

        :return: whether the transport is to stay open: until the pipelined requests
            that wait for their turn have been served, or what has come for another
            protocol has been passed on.
        """
        stream = self._protocol
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
            # Both sides have ended. The successor of an early transport stays open
            # at the client's end until it is closed here.
            if not self._secure:
                self._native.close()
            return
        message = self._message
        if message is not None and (
            message.responded or self._native.get_write_buffer_size()
        ):
            # Nobody should take what was sent of the response for all of it, nor
            # should whoever makes it have to wait until that has been taken.
            self.abortConnection()
        else:
            self.loseConnection()

    @ends_connection
    def connection_lost(self, error: Exception | None) -> None:
        """Tell everyone."""
        if self._kernel_writes is not None:
            self._kernel_writes.close()
            self._kernel_writes = None
        self.lost(connectionDone if error is None else Failure(_lost(error)))

    # For the core of the connection, and for its transport's face.

    @property
    def native(self) -> Any:
        """The transport of the moment, with the methods of `asyncio.Transport`."""
        return self._native

    def _make_face(self) -> NativeTransport:
        return NativeTransport(self)

    def _take_away(self) -> None:
        if self.encrypted and not self._taken:
            # autobahn takes an ISSLTransport for one of pyOpenSSL's, and fails.
            noLongerProvides(self.transport, ISSLTransport)
        super()._take_away()

    @ends_connection
    def drain(self) -> None:
        """Close if idle; otherwise close after the response."""
        if self._native is None:
            self.keep()  # until it is there
        else:
            super().drain()

    def offer_fd(self) -> socket.socket | None:
        """Read nothing more, and give a duplicate of the socket."""
        native = self._native
        # A request may have come first; an early transport's successor is lent.
        if self._lent or not self._is_idle or isinstance(native, EarlyTransport):
            return None
        if native.get_write_buffer_size():
            self._wait_for("rest", 0)  # until the next look
            return None
        # What was encrypted or announced cannot be had from the socket again.
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
        """Come to an end here."""
        self._lent = False
        super().keep()

    @ends_connection
    def reclaim(self) -> None:
        """Come to an end here, though others may hold duplicates of the socket."""
        self._has_duplicates = True
        self.keep()
        # Nobody has read for a while: what has come meanwhile is read first.
        soon = self.site.clock.seconds() + FIRST_REQUEST_SECONDS
        self.deadline = max(self.deadline, soon)

    @ends_connection
    def transferred(self) -> None:
        """Close this descriptor of a connection that another process has."""
        self._input_closed = True
        self._native.close()

    def getPeer(self) -> IAddress:
        """Tell the client's address."""
        if self._peer is None:
            self._peer = address_of(self._peer_name)
        return self._peer

    def getHost(self) -> IAddress:
        """Tell the address that the client has connected to."""
        return address_of(self._native.get_extra_info("sockname"))

    @property
    def encrypted(self) -> bool:
        """Whether the connection itself has TLS."""
        return self._secure

    def client_certificate(self) -> bytes | None:
        """Return the certificate that the client has shown, in DER, if any."""
        if not self._secure:
            return None
        layer: ssl.SSLObject | None = self._native.get_extra_info("ssl_object")
        return None if layer is None else layer.getpeercert(binary_form=True)

    def isSecure(self) -> bool:
        """Tell whether the client came over TLS, be it only to who announced it."""
        return self._secure or self._securely

    def write_before_file(self, data: bytes) -> None:
        """Write a head at once, so that the kernel may put a file behind it."""
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
        """Let the kernel send a piece of a file (sendfile(2))."""
        # TLS must encrypt it, and nothing may overtake what still waits.
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
            # What the client sends is read until its close_notify has come.
            self._native.close()
            return True
        try:
            self._native.write_eof()
        except OSError:  # the client has gone: asyncio's transports tell it so
            return False
        return True

    def _close(self) -> None:
        if self._native is None:
            self._abort()
        elif self._has_duplicates:
            # The client would not hear of it before the last one is closed.
            self._native.write_eof()
            self._wait_for("end", LINGER_SECONDS)
            self.resume_reading()
        elif self._secure:
            self._close_tls()
        else:
            self._native.close()

    def _close_tls(self) -> None:
        """Close once everything is written, and wait a little for the peer's close."""
        native = self._native
        if native.get_write_buffer_size():
            # The transport's own close would give it no longer than the
            # ssl_shutdown_timeout, and would not call back when it is written.
            self._closes_when_written = True
            native.set_write_buffer_limits(high=0)
            return
        native.close()
        self._wait_for("notify", CLOSE_NOTIFY_SECONDS)

    def _end_input(self) -> None:
        # Our close_notify is with the kernel, or in the buffer of the transport below,
        # which ends as it does when the client has closed: it flushes that first.
        end_input(self._native.get_extra_info("socket"))

    def _abort(self) -> None:
        if self._native is None:
            if self._arriving is not None:
                self._arriving.cancel()
            return
        there = self._native.get_extra_info("socket")
        if self._has_duplicates:
            shut_down(there)
        # Of a socket that is lent, another process would send the reset.
        if there is not None and there.fileno() != -1 and not self._lent:
            there.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        # Not at once: asyncio's own transports end twice if they are aborted while
        # they call resume_writing.
        self._loop.call_soon(self._abort_native)

    @ends_connection
    def _abort_native(self) -> None:
        self._native.abort()


def _lost(error: Exception) -> ConnectionLost:
    lost = ConnectionLost(str(error))
    lost.__cause__ = error
    return lost
