"""Writer of a TLS transport: passes on no more than the transport takes at a time."""

import asyncio
from collections import deque
from typing import Final

#: How many bytes are passed to the transport at a time, and how many wait there.
_PIECE: Final = 64 * 1024
_HIGH_WATER: Final = 64 * 1024


class TlsWriter:
    """
    Writes to a TLS transport until that pauses the writer, and buffers the rest.

    A TLS transport encrypts all that it is given, into a buffer of OpenSSL that grows
    to its size, and keeps that size while the connection is open.

    :param transport: the transport.
    :ivar size: the number of bytes that are pending.
    :ivar paused: whether the transport has paused writing.
    """

    __slots__ = ("_pending", "_transport", "paused", "size")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._pending: deque[memoryview] = deque()
        self.size = 0
        self.paused = False
        # Above it, writing is paused: the event loops' own mark is up to 512 KiB.
        transport.set_write_buffer_limits(high=_HIGH_WATER)

    def write(self, data: bytes) -> None:
        """Write bytes, or buffer them until `resume`."""
        if len(data) <= _PIECE and not (self.paused or self._pending):
            self._transport.write(data)
            return
        self._pending.append(memoryview(data))
        self.size += len(data)
        self._pass_on()

    def resume(self) -> bool:
        """
        Called when the transport resumes writing: pass on what is pending.

        :return: whether nothing is pending any more.
        """
        self.paused = False
        self._pass_on()
        return not self._pending

    def drop(self) -> None:
        """Drop the pending bytes: the connection is aborted."""
        self._pending.clear()
        self.size = 0

    def _pass_on(self) -> None:
        pending = self._pending
        while pending and not self.paused:
            data = pending.popleft()
            piece, rest = data[:_PIECE], data[_PIECE:]
            if rest:
                pending.appendleft(rest)
            self.size -= len(piece)
            self._transport.write(piece)  # which may pause writing, or abort
