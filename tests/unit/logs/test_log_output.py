"""Where lines go, with real files, pipes and sockets."""

import errno
import os
import resource
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from select import PIPE_BUF

from twisted.trial.unittest import SynchronousTestCase

from clusterapp.logs.log_output import MOST_BYTES, LineOutput, open_again, open_path
from tests.unit.fakes import descriptors


class OutputCase(SynchronousTestCase):
    """A folder, and outputs that are closed in the end."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="clusterapp-")
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "access.log"

    def output(self, descriptor: int) -> LineOutput:
        """Write to a descriptor that is the output's to close."""
        made = LineOutput(descriptor)
        self.addCleanup(made.close)
        return made

    def file(self) -> LineOutput:
        """Open the file."""
        return self.output(open_path(str(self.path)))

    def pipe(self) -> tuple[int, int]:
        """Make a pipe; return its reading end, and its writing end."""
        ends = os.pipe()
        for end in ends:
            self.addCleanup(os.close, end)
        return ends


class OpeningTests(OutputCase):
    """How descriptors come to be."""

    def test_mode_of_a_new_file(self) -> None:
        """A new file is not readable by others; the umask may restrict it further."""
        for umask, mode in ((0o022, 0o640), (0o077, 0o600)):
            before = os.umask(umask)
            try:
                self.file()
            finally:
                os.umask(before)
            self.assertEqual(self.path.stat().st_mode & 0o777, mode)
            self.path.unlink()

    def test_what_cannot_be_opened(self) -> None:
        """A FIFO that nobody reads is no place to write to, nor is a folder."""
        os.mkfifo(self.path)
        error = self.assertRaises(OSError, open_path, str(self.path))
        self.assertEqual(error.errno, errno.ENXIO)
        self.assertRaises(IsADirectoryError, open_path, str(self.path.parent))

    def test_nothing_is_inherited(self) -> None:
        _, writing = self.pipe()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            opened = [
                open_path(str(self.path)),
                open_again(writing),
                open_again(ours.fileno()),
            ]
            opened.append(open_again(opened[0]))
            for each in opened:
                self.assertFalse(os.get_inheritable(each))
                os.close(each)

    def test_pipe_of_another_program(self) -> None:
        """It does not wait, and what the other program has stays as it was."""
        reading, writing = self.pipe()
        output = self.output(open_again(writing))
        with self.assertRaises(BlockingIOError):
            output.write([b"line\n"] * 100_000)
        self.assertTrue(os.get_blocking(writing))
        os.set_blocking(reading, False)
        self.assertEqual(os.read(reading, 10), b"line\nline\n")

    def test_file_of_another_program(self) -> None:
        """Neither writes over what the other has written."""
        with self.path.open("wb", buffering=0) as others:
            others.write(b"1\n")
            output = self.output(open_again(others.fileno()))
            output.write([b"2\n"])
            others.write(b"3\n")
            output.write([b"4\n"])
        self.assertEqual(self.path.read_bytes(), b"1\n2\n3\n4\n")

    def test_descriptors_are_closed(self) -> None:
        before = descriptors()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            for each in (open_path(str(self.path)), open_again(ours.fileno())):
                LineOutput(each).close()
        self.assertEqual(descriptors(), before)


class FileTests(OutputCase):
    """A file on a disk."""

    def test_end_of_the_file(self) -> None:
        """Each write appends to the end of the file, after other writers' lines."""
        one, other = self.file(), self.file()
        for output, line in ((one, b"1\n"), (other, b"2\n"), (one, b"3\n")):
            output.write([line])
        self.assertEqual(self.path.read_bytes(), b"1\n2\n3\n")

    def test_batches(self) -> None:
        """Many lines are one write, up to a length."""
        batches: list[int] = []
        write = os.write

        def counted(descriptor: int, batch: bytes) -> int:
            batches.append(len(batch))
            return write(descriptor, batch)

        self.patch(os, "write", counted)
        lines = [b"a" * 99 + b"\n"] * 1000
        output = self.file()
        output.write(lines)
        self.assertEqual(lines, [])
        self.assertEqual(batches, [65_500, 34_500])
        self.assertEqual(output.longest_line, MOST_BYTES)

    def test_disk_that_is_full(self) -> None:
        """The lines stay where they are."""
        lines = [b"1\n", b"2\n"]
        output = self.output(os.open("/dev/full", os.O_WRONLY))
        error = self.assertRaises(OSError, output.write, lines)
        self.assertEqual(error.errno, errno.ENOSPC)
        self.assertEqual(lines, [b"1\n", b"2\n"])

    def limited(self, most: int, write: Callable[[list[bytes]], None]) -> list[bytes]:
        """Try to write ten lines into a file that may have so many bytes."""
        lines = [b"line %d\n" % number for number in range(10)]
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
        try:
            self.assertRaises(OSError, write, lines)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        return lines

    def test_disk_that_is_full_within_a_line(self) -> None:
        """The piece of a line is taken back, and written as a whole later."""
        for shared in (False, True):
            self.path.write_bytes(b"")
            if shared:  # as with the master's stdout, which need not be appended to
                output = self.output(os.open(self.path, os.O_WRONLY))
            else:
                output = self.file()
            lines = self.limited(30, output.write)
            self.assertEqual(len(lines), 6)
            self.assertEqual(self.path.read_bytes().splitlines()[-1], b"line 3")
            self.assertEqual(self.path.stat().st_size, 28)
            output.write(lines)
            self.assertEqual(
                self.path.read_bytes(), b"".join(b"line %d\n" % n for n in range(10))
            )

    def test_piece_of_a_line_that_is_not_the_last(self) -> None:
        """What others have written since then is not taken away."""
        output, other = self.file(), self.file()
        send = output._send
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

        def send_and_cross(batch: bytes) -> int:
            sent = send(batch)
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            other.write([b" and another\n"])
            return sent

        self.patch(output, "_send", send_and_cross)
        self.assertEqual(len(self.limited(30, output.write)), 6)
        self.assertEqual(self.path.read_bytes()[21:], b"line 3\nli and another\n")


#: A worker that writes 3000 lines of its own as fast as it can.
WORKER = """
import os, select, sys
from clusterapp.logs.log_output import LineOutput, open_again, open_path

name, path = sys.argv[1:]
descriptor = open_path(path) if path else open_again(1)
output = LineOutput(descriptor)
sys.stdin.read()
for batch in range(30):
    lines = [b"%s %d %s\\n" % (name.encode(), 100 * batch + n, b"x" * n)
             for n in range(100)]
    while lines:
        try:
            output.write(lines)
        except BlockingIOError:
            select.select([], [descriptor], [])
"""


class ManyTests(OutputCase):
    """Several processes that append to one place."""

    def written_by_four(self, path: str, stdout: int) -> None:
        """Run four worker processes that write at the same time."""
        workers = [
            subprocess.Popen(
                [sys.executable, "-c", WORKER, name, path],
                stdin=subprocess.PIPE,
                stdout=stdout,
            )
            for name in "abcd"
        ]
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.close()
        for worker in workers:
            self.addCleanup(worker.kill)
        self.ended = [worker.wait for worker in workers]

    def assert_whole(self, written: bytes) -> None:
        """Look that each line is there, once, and that those of each are in order."""
        self.assertEqual([wait(60) for wait in self.ended], [0] * 4)
        lines = written.splitlines()
        for name in b"abcd":
            own = [line for line in lines if line[0] == name]
            self.assertEqual(
                own,
                [b"%c %d %s" % (name, n, b"x" * (n % 100)) for n in range(3000)],
            )
        self.assertEqual(len(lines), 4 * 3000)

    def test_file(self) -> None:
        self.written_by_four(str(self.path), subprocess.DEVNULL)
        for wait in self.ended:
            wait(60)
        self.assert_whole(self.path.read_bytes())

    def test_stdout_that_is_a_file(self) -> None:
        """Without appending, as a shell opens it: they share the place in it."""
        with self.path.open("wb") as file:
            self.written_by_four("", file.fileno())
        for wait in self.ended:
            wait(60)
        self.assert_whole(self.path.read_bytes())

    def test_stdout_that_is_a_pipe(self) -> None:
        reading, writing = os.pipe()
        with os.fdopen(reading, "rb") as reader:
            self.written_by_four("", writing)
            os.close(writing)
            self.assert_whole(reader.read())


class PipeTests(OutputCase):
    """A pipe, a FIFO or a socket, which others write to as well."""

    def test_pieces(self) -> None:
        """No write is longer than what the kernel keeps together; lines are whole."""
        pieces: list[bytes] = []

        def counted(_: int, batch: bytes) -> int:
            pieces.append(batch)
            return len(batch)

        _, writing = self.pipe()
        output = self.output(open_again(writing))
        self.patch(os, "write", counted)
        output.write([b"%01000d\n" % number for number in range(9)])
        self.assertEqual([len(piece) for piece in pieces], [4004, 4004, 1001])
        self.assertTrue(all(piece.endswith(b"\n") for piece in pieces))
        self.assertEqual(output.longest_line, PIPE_BUF)

    def assert_slow(self, output: LineOutput, receive: Callable[[], bytes]) -> None:
        """Write more than goes in, twice, and look that nothing is missing."""
        lines = [b"%0999d\n" % number for number in range(1000)]
        wanted, got = b"".join(lines), b""
        rounds = 0
        while lines:
            before = len(lines)
            try:
                output.write(lines)
            except BlockingIOError:
                self.assertLess(len(lines), before)
            got += receive()
            rounds += 1
        self.assertGreater(rounds, 1)
        self.assertEqual(got, wanted)

    def test_slow_reader_of_a_pipe(self) -> None:
        reading, writing = self.pipe()
        os.set_blocking(reading, False)
        self.assert_slow(
            self.output(open_again(writing)), lambda: os.read(reading, 1 << 20)
        )

    def test_slow_reader_of_a_fifo(self) -> None:
        os.mkfifo(self.path)
        reading = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reading)
        self.assert_slow(self.file(), lambda: os.read(reading, 1 << 20))

    def test_slow_reader_of_a_socket(self) -> None:
        """The journal of systemd gives its services a socket as their stdout."""
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        theirs.setblocking(False)

        def receive() -> bytes:
            got = b""
            while True:
                try:
                    got += theirs.recv(1 << 20)
                except BlockingIOError:
                    return got

        self.assert_slow(self.output(open_again(ours.fileno())), receive)
        self.assertTrue(ours.getblocking())

    def test_rest_of_a_line(self) -> None:
        """A terminal may take half a line: the other half comes next."""
        reading, writing = self.pipe()
        output = self.output(open_again(writing))
        write = os.write
        self.patch(os, "write", lambda fd, batch: write(fd, batch[:10]))
        lines = [b"line 1\n", b"line 2\n", b"line 3\n"]
        self.assertRaises(BlockingIOError, output.write, lines)
        self.assertEqual(lines, [b"e 2\n", b"line 3\n"])
        self.patch(os, "write", write)
        output.write(lines)
        self.assertEqual(os.read(reading, 100), b"line 1\nline 2\nline 3\n")

    def test_reader_is_gone(self) -> None:
        reading, writing = os.pipe()
        output = self.output(open_again(writing))
        os.close(writing)
        os.close(reading)
        self.assertRaises(BrokenPipeError, output.write, [b"line\n"])
