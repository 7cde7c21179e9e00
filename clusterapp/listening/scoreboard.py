"""
The scoreboard: shared memory with the load of each process of a cluster.

Each worker has a row, which only it writes; every process reads all rows. So the master
can choose a worker by its load, and a worker can compare its load with the average,
without messages.
"""

import mmap
import os
from typing import cast

from clusterapp.channel.shared_memory import create_shared_memory
from clusterapp.interfaces import COLUMNS, LOAD, SERVING, Row
from clusterapp.listening.accept import AT_ONCE

#: Each column is one aligned word, so that a concurrent reader sees either the old
#: value or the new one.
_WORD = 8

#: More processes than one machine runs; memory is allocated only when it is written.
_ROWS = 4096

_SIZE = _ROWS * COLUMNS * _WORD

#: By how much a worker may exceed the average: a number of connections, and a part of
#: it.
_ALLOWED = 2
_TOLERANCE = 50


class Scoreboard:
    """
    The rows of all processes.

    :param descriptor: the shared memory; it remains the caller's.
    """

    def __init__(self, descriptor: int) -> None:
        self._memory = mmap.mmap(descriptor, _SIZE)
        # The first row holds the highest row number that was ever assigned.
        self._words = memoryview(self._memory).cast("Q")
        self._rows: dict[int, memoryview] = {}

    def row(self, number: int) -> Row:
        """Return a row by its number."""
        if number not in self._rows:
            start = number * COLUMNS
            self._rows[number] = self._words[start : start + COLUMNS]
        return cast("Row", self._rows[number])

    def portion(self, number: int) -> int:
        """
        Return how many connections a worker may accept at once from a shared socket.

        One at a time, so that the next one goes to another worker, which may have less
        load; none if its load is above the average.

        :param number: the number of the worker's row.
        """
        words = self._words
        if words[0] == 1:
            return AT_ONCE  # the only worker
        end = (words[0] + 1) * COLUMNS
        # A worker that does not serve has 0 in both columns.
        count = sum(words[COLUMNS + SERVING : end : COLUMNS])
        if count == 1:
            return AT_ONCE
        total = sum(words[COLUMNS + LOAD : end : COLUMNS])
        own = words[number * COLUMNS + LOAD]
        return int(own * count <= total + count * _ALLOWED + total // _TOLERANCE)


class OwnScoreboard(Scoreboard):
    """
    The master's scoreboard, which creates the memory.

    :raise OSError: if the memory cannot be created.
    """

    def __init__(self) -> None:
        self.descriptor = create_shared_memory("clusterapp-scoreboard", _SIZE)
        try:
            super().__init__(self.descriptor)
        except BaseException:
            os.close(self.descriptor)
            raise
        self._free: list[int] = []

    def take(self) -> int:
        """
        Allocate a row, whose columns are all 0.

        :raise OSError: if there is none left.
        """
        if self._free:
            number = self._free.pop()
        elif self._words[0] + 1 < _ROWS:
            number = self._words[0] = self._words[0] + 1
        else:
            raise OSError(f"there are {_ROWS} processes already")
        return number

    def give_back(self, number: int) -> None:
        """Free the row of a process that has exited, and set its columns to 0."""
        row = self.row(number)
        for column in range(COLUMNS):
            row[column] = 0
        self._free.append(number)

    def close(self) -> None:
        """Release the memory and all rows; other processes keep their mapping."""
        for row in self._rows.values():
            row.release()
        self._words.release()
        # The map has a duplicate of the descriptor.
        self._memory.close()
        os.close(self.descriptor)
