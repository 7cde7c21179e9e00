"""
The record of requests under way, in memory that outlives the child.

A child that is killed, or whose application ends it, cannot log any more. So its master
makes this memory, the child records there the requests that it serves, and the master
reads it after the child has exited.
"""

import mmap
import os
from collections.abc import Iterator
from struct import Struct
from typing import Final

from clusterapp.channel.shared_memory import create_shared_memory
from clusterapp.printable import printable

#: The number of the child's descriptor of the memory, in every child.
REQUESTS_FD: Final = 5

#: A request's number, from 1, then its method and path, preceded by a byte with their
#: length.
_ROW: Final = Struct("<Q248p")
_ENDED: Final = bytes(8)

#: The number of the latest requests that are kept. A power of two.
_ROWS: Final = 32

SIZE: Final = _ROWS * _ROW.size


class RequestRecord:
    """
    The child's side of the record: the requests that it serves.

    :param memory: `SIZE` bytes, which are 0 at first.
    """

    def __init__(self, memory: mmap.mmap | bytearray) -> None:
        self._memory = memory
        self._count = 0
        self._rows = [0] * _ROWS

    @classmethod
    def of_child(cls) -> "RequestRecord":
        """
        Map the memory that the master has made for this child.

        :raises OSError: if there is no such descriptor.
        """
        memory = mmap.mmap(REQUESTS_FD, SIZE)
        os.close(REQUESTS_FD)  # the map has a duplicate
        return cls(memory)

    def begin(self, method: bytes, path: bytes) -> int:
        """
        Record the start of a request, in the row of the oldest one.

        :param path: as the client has sent it; it is cut if it is too long.
        :return: the request's number, for `end`.
        """
        number = self._count = self._count + 1
        row = number % _ROWS
        self._rows[row] = number
        _ROW.pack_into(self._memory, row * _ROW.size, number, b"%b %b" % (method, path))
        return number

    def end(self, number: int) -> None:
        """Record the end of a request, unless its row has been reused."""
        row = number % _ROWS
        if self._rows[row] == number:
            start = row * _ROW.size
            self._memory[start : start + 8] = _ENDED


class ChildRequests:
    """
    The master's side of the record of a child's requests.

    :raises OSError: if the memory cannot be allocated.
    """

    def __init__(self) -> None:
        #: The descriptor that the child inherits; -1 once it is closed here.
        self.descriptor = create_shared_memory("clusterapp-requests", SIZE)
        try:
            self._memory = mmap.mmap(self.descriptor, SIZE)
        except BaseException:
            os.close(self.descriptor)
            raise

    def close_descriptor(self) -> None:
        """Close the descriptor: the child has its own, and the memory stays mapped."""
        if self.descriptor != -1:
            os.close(self.descriptor)
            self.descriptor = -1

    def under_way(self) -> list[str]:
        """
        Return the requests that had begun and not ended, the latest one first.

        :return: method and path of each, printable.
        """
        return [text for _, text in sorted(self._rows(), reverse=True)]

    def _rows(self) -> Iterator[tuple[int, str]]:
        # The child can write anything there: nothing is assumed to be well formed.
        for number, line in _ROW.iter_unpack(self._memory[:]):
            if number:
                yield number, printable(line.decode("latin-1"), keep="")

    def close(self) -> None:
        """Release the memory."""
        self._memory.close()
        self.close_descriptor()
