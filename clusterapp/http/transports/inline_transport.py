"""
A connection before the event loop has it (in a worker).

Where a client opens a connection for each request, the request is nearly always there
when the connection is accepted, and answered before anything else happens. For such a
connection the loop's own transport, which costs a task, an object and a watch in the
kernel, would be made only to be closed. So the first bytes are read from the bare
socket, and what is written meanwhile is sent when they have been dealt with: if the
connection ends with that, together with its end, in one segment. A transport is made
for what goes on.
"""

import asyncio
import socket
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from collections.abc import Callable

#: How much may wait for the client before the writer is told to pause: as much as on
#: asyncio's transports.
HIGH_WATER: Final = 64 * 1024


class EarlyTransport:
    """
    What a connection writes to until the loop's transport is there.

    It has the methods of `asyncio.Transport` that connections call.

    :param connection: the socket, which does not block.
    :param protocol: told when too much waits.
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

    # What the connection calls.

    def write(self, data: bytes) -> None:
        """Keep bytes until `settle`, or for the successor."""
        if self._closing:
            return
        self._waiting += data
        if len(self._waiting) > HIGH_WATER and not self._full:
            self._full = True
            self._protocol.pause_writing()

    def write_eof(self) -> None:
        """End the stream to the client."""
        self._ended = True

    def can_write_eof(self) -> bool:
        """Tell that this can be done alone."""
        return True

    def close(self) -> None:
        """Close once everything is sent."""
        self._closing = True

    def abort(self) -> None:
        """Close, whatever waits."""
        self._closing = self._aborted = True

    def is_closing(self) -> bool:
        """Whether the end has begun."""
        return self._closing

    def pause_reading(self) -> None:
        """Nothing: nobody reads here; the connection tells its next transport."""

    resume_reading = pause_reading

    def get_write_buffer_size(self) -> int:
        """Tell how much waits."""
        return len(self._waiting)

    def get_extra_info(self, name: str) -> Any:
        """Give the socket, or its name; there is no TLS to be told of."""
        if name == "socket":
            return self._socket
        return self._socket.getsockname() if name == "sockname" else None

    # What the server and the connection's next transport bring.

    def settle(self) -> bool:
        """
        Send what waits; tell whether nothing is left to do but to close the socket.

        What the kernel does not take at once is left to the successor.
        """
        # The end that follows pushes what MSG_MORE holds back (tcp(7), TCP_CORK).
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
        """Close the socket, and tell the connection."""
        self._closing = True
        self._socket.close()
        self._protocol.connection_lost(self._error)

    def hand_over(self, successor: asyncio.Transport) -> None:
        """
        Let another transport do what is left.

        :param successor: the loop's own, of the same socket.
        """
        if self._aborted:
            successor.abort()
            return
        if self._waiting:
            successor.write(bytes(self._waiting))
        if self._ended:
            try:
                successor.write_eof()
            except OSError:  # the client has gone
                successor.abort()
        if self._closing:
            successor.close()
        elif self._full and successor.get_write_buffer_size() <= HIGH_WATER:
            # Otherwise the successor has said that it is full, and says the rest.
            self._protocol.resume_writing()


class Arrival(asyncio.Protocol):
    """
    Hears what a loop's transport tells until the loop has let go of its making.

    Before that, uvloop's must not be closed, and reads whatever it is told.
    """

    def __init__(self) -> None:
        #: The transport, when it is there.
        self.transport: asyncio.Transport | None = None
        self._came: list[Callable[[asyncio.Protocol], object]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the transport."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Keep what comes."""
        self._came.append(lambda protocol: protocol.data_received(data))

    def eof_received(self) -> bool:
        """Keep the transport open."""
        self._came.append(lambda protocol: protocol.eof_received())
        return True

    def connection_lost(self, error: Exception | None) -> None:
        """Note that it was over before it began."""
        self.transport = None
        self._came.append(lambda protocol: protocol.connection_lost(error))

    def tell(self, protocol: asyncio.Protocol) -> None:
        """Tell the connection what came meanwhile, in its order."""
        for came in self._came:
            came(protocol)
