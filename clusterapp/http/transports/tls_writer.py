"""Writer of a TLS transport: passes on no more than the transport takes at a time."""

import asyncio
from collections import deque
from typing import Final

#: How many bytes are passed to the transport at a time, and how many wait there.
_PIECE: Final = 64 * 1024
_HIGH_WATER: Final = 64 * 1024


class TlsWriter:
    """
    Writes to a TLS transport until that pauses the writer, and holds the rest.

    A TLS transport encrypts all that it is given, into a buffer of OpenSSL that grows
    to its size, and keeps that size while the connection is open.

    :param transport: the transport.
    :ivar size: the number of bytes that are held.
    :ivar paused: whether the transport has paused writing.
    """

    __slots__ = ("_held", "_transport", "paused", "size")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._held: deque[memoryview] = deque()
        self.size = 0
        self.paused = False

        # Above it, writing is paused: the event loops' own mark is up to 512 KiB.
        transport.set_write_buffer_limits(high=_HIGH_WATER)

    def write(self, data: bytes) -> None:
        """Write bytes, or hold them until `resume`."""
        if len(data) <= _PIECE and not (self.paused or self._held):
            self._transport.write(data)
            return
        self._held.append(memoryview(data))
        self.size += len(data)
        self._pass_on()

    def resume(self) -> bool:
        """
        Called when the transport resumes writing: pass on what is held.

        :return: whether nothing is held any more.
        """
        self.paused = False
        self._pass_on()
        return not self._held

    def drop(self) -> None:
        """Drop the bytes that are held: the connection is aborted or lost."""
        self._held.clear()
        self.size = 0

    def _pass_on(self) -> None:
        held = self._held
        while held and not self.paused:
            data = held.popleft()
            piece, rest = data[:_PIECE], data[_PIECE:]
            if rest:
                held.appendleft(rest)
            self.size -= len(piece)
            self._transport.write(piece)  # which may pause writing, or abort
