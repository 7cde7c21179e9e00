"""
Records: messages of several processes in one pipe, without mixing them.

A pipe keeps the bytes of one write together only up to ``PIPE_BUF`` (pipe(7)). A child
and the processes that it has forked share the pipe of log events, so a message is
divided into records of at most that size, each with the writer's pid; the reader
reassembles the messages.
"""

import struct
from collections.abc import Iterator
from select import PIPE_BUF

#: A marker byte, the writer's pid, flags, and the length of the payload.
_HEADER = struct.Struct("<BIBH")
_MARK = 0xF5
_FIRST, _LAST = 1, 2
_ROOM = PIPE_BUF - _HEADER.size

#: The longest message, in bytes; a longer one is discarded.
LONGEST_MESSAGE = 655_360

#: The number of writers whose messages may be incomplete at the same time.
MOST_WRITERS = 16


def records_of(pid: int, message: bytes) -> list[bytes]:
    """
    Divide a message into records, each of which is written by one write(2).

    :param pid: the pid of the writer.
    """
    pieces = [message[n : n + _ROOM] for n in range(0, len(message), _ROOM)]
    last = len(pieces) - 1
    return [
        _HEADER.pack(
            _MARK,
            pid,
            (_FIRST if n == 0 else 0) | (_LAST if n == last else 0),
            len(each),
        )
        + each
        for n, each in enumerate(pieces)
    ]


class RecordReader:
    """
    Reassembles messages from the bytes of a pipe.

    Bytes that are not a record are skipped: the application can write to the pipe, too.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._begun: dict[int, bytearray] = {}

    def feed(self, received: bytes) -> Iterator[bytes]:
        """Return the messages that these bytes complete."""
        data, at = self._rest + received, 0
        while len(data) - at >= _HEADER.size:
            mark, pid, flags, length = _HEADER.unpack_from(data, at)
            if mark != _MARK or length > _ROOM:
                at = data.find(_MARK, at + 1)
                at = len(data) if at < 0 else at
                continue
            end = at + _HEADER.size + length
            if end > len(data):
                break
            message = self._add(pid, flags, data[at + _HEADER.size : end])
            at = end
            if message is not None:
                yield message
        self._rest = data[at:]

    def _add(self, pid: int, flags: int, piece: bytes) -> bytes | None:
        if flags & _FIRST:
            if flags & _LAST:
                return piece
            self._begun.pop(pid, None)
            if len(self._begun) >= MOST_WRITERS:
                # The oldest incomplete message: of a process that was killed while it
                # wrote.
                del self._begun[next(iter(self._begun))]
            self._begun[pid] = bytearray()
        begun = self._begun.get(pid)
        if begun is None:
            return None  # its start was skipped
        begun += piece
        if len(begun) > LONGEST_MESSAGE:
            del self._begun[pid]
            return None
        return bytes(self._begun.pop(pid)) if flags & _LAST else None
