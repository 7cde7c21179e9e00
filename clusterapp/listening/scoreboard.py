"""
Memory that all processes of a cluster share: who has how many connections.

Each worker has a row, which only it writes; everyone reads all rows. So the master
knows how much each worker has to do when it chooses one, and a worker knows whether
it has more than its share, without a word said.
"""

import mmap
import os
from typing import cast

from clusterapp.interfaces import COLUMNS, LOAD, SERVING, Row
from clusterapp.listening.accept import AT_ONCE

#: Each column is a word of its own, so that whoever reads one while it is written
#: sees the old value or the new one.
_WORD = 8

#: More processes than one machine runs; the memory is only taken as it is written.
_ROWS = 4096

#: What a worker may have above the average: some connections, and a part of it.
_ALLOWED = 2
_TOLERANCE = 50


class Scoreboard:
    """
    The rows of all processes.

    :param descriptor: the shared memory; it stays the caller's.
    """

    def __init__(self, descriptor: int) -> None:
        self._memory = mmap.mmap(descriptor, _ROWS * COLUMNS * _WORD)
        # The first row holds the number of the last one that was ever taken.
        self._words = memoryview(self._memory).cast("Q")
        self._rows: dict[int, memoryview] = {}

    def row(self, number: int) -> Row:
        """Give a row by its number."""
        if number not in self._rows:
            start = number * COLUMNS
            self._rows[number] = self._words[start : start + COLUMNS]
        return cast("Row", self._rows[number])

    def portion(self, number: int) -> int:
        """
        Tell how many connections a worker may take at once of those that all share.

        One at a time, so that the next is another's, who may have less to do; none,
        if it has more to do than the others have on average.

        :param number: its row.
        """
        words = self._words
        if words[0] == 1:
            return AT_ONCE  # it is alone
        end = (words[0] + 1) * COLUMNS
        # Who does not serve has nothing in either column.
        count = sum(words[COLUMNS + SERVING : end : COLUMNS])
        if count == 1:
            return AT_ONCE
        total = sum(words[COLUMNS + LOAD : end : COLUMNS])
        own = words[number * COLUMNS + LOAD]
        return int(own * count <= total + count * _ALLOWED + total // _TOLERANCE)


class OwnScoreboard(Scoreboard):
    """A scoreboard, as the master that has made it sees it."""

    def __init__(self) -> None:
        self.descriptor = os.memfd_create("clusterapp-scoreboard")
        os.ftruncate(self.descriptor, _ROWS * COLUMNS * _WORD)
        super().__init__(self.descriptor)
        self._free: list[int] = []

    def take(self) -> int:
        """
        Take a row, whose columns are all 0.

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
        """Give a row back: its process is gone, and is to count no more."""
        row = self.row(number)
        for column in range(COLUMNS):
            row[column] = 0
        self._free.append(number)

    def close(self) -> None:
        """Give the memory up, rows and all; processes that have it keep theirs."""
        for row in self._rows.values():
            row.release()
        self._words.release()
        # It has a duplicate of the descriptor.
        self._memory.close()
        os.close(self.descriptor)
