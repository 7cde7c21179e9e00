"""Closed transport: what remains of a transport once its connection is lost."""

import asyncio
from typing import Any

#: What may still be asked of a lost connection, and holds no buffer.
_KEPT = ("socket", "sockname", "peername")


class ClosedTransport:
    """
    Transport of a lost connection, with the methods of `asyncio.Transport`.

    It takes the place of a transport whose buffers are to be freed.

    :param lost: the transport.
    """

    __slots__ = ("_extra",)

    def __init__(self, lost: asyncio.Transport) -> None:
        self._extra = {name: lost.get_extra_info(name) for name in _KEPT}

    def write(self, data: bytes) -> None:
        """Do nothing: the connection is lost."""

    def write_eof(self) -> None:
        """Do nothing: the connection is lost."""

    def close(self) -> None:
        """Do nothing: the connection is lost."""

    abort = pause_reading = resume_reading = close

    def can_write_eof(self) -> bool:
        """Return False: the write side is closed."""
        return False

    def is_closing(self) -> bool:
        """Return True."""
        return True

    def get_write_buffer_size(self) -> int:
        """Return 0."""
        return 0

    def get_extra_info(self, name: str) -> Any:
        """Return the socket or an address; None for what belongs to TLS."""
        return self._extra.get(name)
