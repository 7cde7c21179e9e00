"""The memory that all processes of a cluster share."""

import fcntl
import mmap
import os

from twisted.trial.unittest import SynchronousTestCase

from clusterapp.interfaces import COLUMNS, LOAD, OPEN, RECEIVED, SERVING
from clusterapp.listening.accept import AT_ONCE
from clusterapp.listening.scoreboard import OwnScoreboard, Scoreboard
from tests.unit.fakes import descriptors


class BoardCase(SynchronousTestCase):
    """A board of a master's, of which nothing is left."""

    def setUp(self) -> None:
        before = descriptors()
        self.addCleanup(lambda: self.assertEqual(descriptors(), before))
        self.board = OwnScoreboard()
        self.addCleanup(self.board.close)

    def worker(self, **columns: int) -> int:
        """Take the row of a worker that serves; return its number."""
        number = self.board.take()
        row = self.board.row(number)
        row[SERVING] = 1
        row[OPEN] = columns.get("open", 0)
        row[LOAD] = columns.get("load", columns.get("open", 0))
        return number


class RowTests(BoardCase):
    """Rows, each one process's own."""

    def test_each_process_has_its_own(self) -> None:
        numbers = [self.board.take() for _ in range(3)]
        self.assertEqual(numbers, [1, 2, 3])
        for number in numbers:
            self.board.row(number)[OPEN] = number * 10
        found = [list(self.board.row(number)) for number in numbers]
        wanted = [[0, number * 10, *[0] * (COLUMNS - 2)] for number in numbers]
        self.assertEqual(found, wanted)

    def test_others_see_what_one_writes(self) -> None:
        """All processes with the descriptor share the same memory."""
        number = self.board.take()
        other = Scoreboard(self.board.descriptor)
        other.row(number)[OPEN] = 2**40
        self.assertEqual(self.board.row(number)[OPEN], 2**40)
        self.board.row(number)[LOAD] = 7
        self.assertEqual(other.row(number)[LOAD], 7)
        del other

    def test_given_back(self) -> None:
        """The next process has it, without a trace of the one before."""
        first, second = self.worker(open=5), self.worker(open=7)
        self.board.row(first)[RECEIVED] = 9
        self.board.give_back(first)
        self.assertEqual(self.board.row(first)[SERVING], 0)
        self.assertEqual(self.board.take(), first)
        self.assertEqual(list(self.board.row(first)), [0] * COLUMNS)
        self.assertEqual(self.board.row(second)[OPEN], 7)

    def test_all_taken(self) -> None:
        """There is an end, and the memory does not run over."""
        numbers = [self.board.take() for _ in range(4095)]
        self.assertEqual(len(set(numbers)), 4095)
        self.assertEqual(list(self.board.row(numbers[-1])), [0] * COLUMNS)
        with self.assertRaisesRegex(OSError, "4096 processes"):
            self.board.take()
        self.board.give_back(17)
        self.assertEqual(self.board.take(), 17)

    def test_descriptor_is_inherited_by_nobody_by_chance(self) -> None:
        flags = fcntl.fcntl(self.board.descriptor, fcntl.F_GETFD)
        self.assertTrue(flags & fcntl.FD_CLOEXEC)

    def test_size_cannot_be_changed(self) -> None:
        """A child that tries leaves the memory of all other processes whole."""
        number = self.worker(open=5)
        for size in (0, 2**20):
            with self.assertRaises(PermissionError):
                os.ftruncate(self.board.descriptor, size)
        self.assertEqual(self.board.row(number)[OPEN], 5)

    def test_no_memory(self) -> None:
        """No descriptor is left behind where the memory cannot be mapped."""
        before = descriptors()

        def refuse(*_: object) -> None:
            raise OSError("no memory")

        self.patch(mmap, "mmap", refuse)
        with self.assertRaises(OSError):
            OwnScoreboard()
        self.assertEqual(descriptors(), before)

    def test_memory_without_seals(self) -> None:
        """What an older version has made is mapped as well."""
        older = os.memfd_create("older")
        self.addCleanup(os.close, older)
        os.ftruncate(older, os.fstat(self.board.descriptor).st_size)
        Scoreboard(older).row(1)[OPEN] = 3
        self.assertEqual(Scoreboard(older).row(1)[OPEN], 3)


class CloseTests(SynchronousTestCase):
    """The end of a master's board."""

    def test_processes_keep_theirs(self) -> None:
        board = OwnScoreboard()
        copy = os.dup(board.descriptor)
        number = board.take()
        board.row(number)[OPEN] = 3
        board.close()
        left = Scoreboard(copy)
        os.close(copy)
        self.assertEqual(left.row(number)[OPEN], 3)


class ShareTests(BoardCase):
    """How many connections a worker may take at once."""

    def of(self, *opens: int) -> list[int]:
        """Return it of workers that have so many connections."""
        numbers = [self.worker(open=count) for count in opens]
        return [self.board.portion(number) for number in numbers]

    def test_alone(self) -> None:
        """Nobody else is to have any."""
        self.assertEqual(self.of(1000), [AT_ONCE])

    def test_alone_again(self) -> None:
        """The one before it has left, or takes none any more."""
        before, after = self.worker(open=9), self.worker()
        self.board.row(before)[SERVING] = 0
        self.board.row(before)[LOAD] = 0
        self.assertEqual(self.board.portion(after), AT_ONCE)
        self.board.give_back(before)
        self.assertEqual(self.board.portion(after), AT_ONCE)

    def test_even(self) -> None:
        self.assertEqual(self.of(50, 50, 50), [1] * 3)

    def test_some_more_is_no_more(self) -> None:
        """Workers that have next to nothing to do need not be even."""
        self.assertEqual(self.of(2, 0), [1, 1])
        self.assertEqual(self.of(4, 1, 1, 0, 0), [0, 1, 1, 1, 1])

    def test_much_more(self) -> None:
        self.assertEqual(self.of(60, 50, 50, 40), [0, 1, 1, 1])

    def test_allowance_grows_with_the_load(self) -> None:
        """A fiftieth of what all have, above the two that it always may."""
        self.assertEqual(self.of(1021, 979), [1, 1])
        self.assertEqual(self.of(1023, 977), [0, 1])

    def test_load_counts(self) -> None:
        """Not what is open alone."""
        busy, idle = self.worker(load=9), self.worker()
        self.assertEqual(self.board.portion(busy), 0)
        self.assertEqual(self.board.portion(idle), 1)

    def test_who_is_gone_does_not_count(self) -> None:
        busy, idle, gone = self.worker(load=9), self.worker(), self.worker(load=100)
        self.assertEqual(self.board.portion(busy), 1)
        self.board.give_back(gone)
        self.assertEqual(self.board.portion(busy), 0)
        self.assertEqual(self.board.portion(idle), 1)
