"""
Early transport: serves a connection before the event loop has it (in a worker).

Where a client opens a connection for each request, the request has nearly always
arrived when the connection is accepted, and is answered before the next event. For such
a connection the event loop's own transport, which costs a task, an object and a watch
in the kernel, would be made only to be closed. So the first bytes are read from the
bare socket, and output is buffered and sent when they have been processed: if the
connection closes with that, together with the FIN, in one segment. The event loop's
transport is made only for a connection that stays open.
"""

import asyncio
import socket
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from collections.abc import Callable

#: The high-water mark of the write buffer in bytes, above which the writer is paused:
#: the same as for asyncio's transports.
HIGH_WATER: Final = 64 * 1024


class EarlyTransport:
    """
    Transport of a connection until the event loop's transport has been made.

    It has the methods of `asyncio.Transport` that connections call.

    :param connection: the non-blocking socket.
    :param protocol: the adapter of the connection, paused when the buffer is full.
    """

    __slots__ = (
        "_aborted",
        "_closing",
        "_ended",
        "_error",
        "_full",
        "_protocol",
        "_socket",
        "_waiting",
    )

    def __init__(self, connection: socket.socket, protocol: asyncio.Protocol) -> None:
        self._socket = connection
        self._protocol = protocol
        self._waiting = bytearray()
        self._full = False
        self._ended = False
        self._closing = False
        self._aborted = False
        self._error: OSError | None = None

    # Called by the connection.

    def write(self, data: bytes) -> None:
        """Buffer bytes until `settle`, or for the event loop's transport."""
        if self._closing:
            return
        self._waiting += data
        if len(self._waiting) > HIGH_WATER and not self._full:
            self._full = True
            self._protocol.pause_writing()

    def write_eof(self) -> None:
        """Close the write side, once everything is sent."""
        self._ended = True

    def can_write_eof(self) -> bool:
        """Return True: half-closing is supported."""
        return True

    def close(self) -> None:
        """Close the transport once everything is sent."""
        self._closing = True

    def abort(self) -> None:
        """Abort the transport: close it and discard unsent bytes."""
        self._closing = self._aborted = True
        self._waiting = bytearray()

    def is_closing(self) -> bool:
        """Return whether the transport is closing."""
        return self._closing

    def pause_reading(self) -> None:
        """Do nothing, since nothing is read here; `move` pauses the next transport."""

    resume_reading = pause_reading

    def get_write_buffer_size(self) -> int:
        """Return the number of bytes in the write buffer."""
        return len(self._waiting)

    def get_extra_info(self, name: str) -> Any:
        """Return the socket or its own address; None for others, as without TLS."""
        if name == "socket":
            return self._socket
        return self._socket.getsockname() if name == "sockname" else None

    # Called by the server, and when the event loop's transport has been made.

    def settle(self) -> bool:
        """
        Send the write buffer.

        Bytes that the kernel does not accept at once are left to the event loop's
        transport.

        :return: whether nothing is left to do but to close the socket.
        """
        # The FIN that follows flushes what MSG_MORE holds back (tcp(7), TCP_CORK).
        flags = socket.MSG_MORE if self._closing or self._ended else 0
        try:
            if self._waiting and not self._aborted:
                del self._waiting[: self._socket.send(self._waiting, flags)]
        except BlockingIOError:
            pass
        except OSError as error:
            self._error = error
            self.abort()
        return self._aborted or (self._closing and not self._waiting)

    def end(self) -> None:
        """Close the socket, and call the connection's connection_lost."""
        self.abort()
        self._socket.close()
        self._protocol.connection_lost(self._error)

    def hand_over(self, successor: asyncio.Transport) -> None:
        """
        Transfer unsent bytes and the pending close to the event loop's transport.

        :param successor: the event loop's transport of the same socket.
        """
        if self._aborted:
            successor.abort()
            return
        if self._waiting:
            waiting, self._waiting = self._waiting, bytearray()
            successor.write(bytes(waiting))
        if self._ended:
            try:
                successor.write_eof()
            except OSError:  # the client has disconnected
                successor.abort()
        if self._closing:
            successor.close()
        elif self._full and successor.get_write_buffer_size() <= HIGH_WATER:
            # Above the mark, the new transport has called pause_writing itself, and
            # will call resume_writing.
            self._protocol.resume_writing()


class TransportEvents(asyncio.Protocol):
    """
    Protocol that records a new transport's callbacks until it is completely made.

    Before that, a uvloop transport must not be closed, and reads even when paused.
    """

    def __init__(self) -> None:
        #: The transport, once it is connected; None after it was lost.
        self.transport: asyncio.Transport | None = None
        self._events: list[Callable[[asyncio.Protocol], object]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called when the transport is connected: store it."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Called with input: record it."""
        self._events.append(lambda protocol: protocol.data_received(data))

    def eof_received(self) -> bool:
        """Called when the peer has closed its side: record it, keep the transport."""
        self._events.append(lambda protocol: protocol.eof_received())
        return True

    def connection_lost(self, error: Exception | None) -> None:
        """Called when the connection is lost: record it, and forget the transport."""
        self.transport = None
        self._events.append(lambda protocol: protocol.connection_lost(error))

    def replay(self, protocol: asyncio.Protocol) -> None:
        """Call the recorded callbacks on the connection, in their order."""
        for call in self._events:
            call(protocol)
