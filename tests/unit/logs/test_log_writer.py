"""The writer of the program's log: real pipes, whose reader may stand still."""

import fcntl
import io
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from twisted.internet.task import Clock
from twisted.logger import Logger, LogPublisher
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.logs import log_writer
from clusterapp.logs.log_writer import MOST_KEPT, LogWriter, may_block
from clusterapp.logs.program import LogOutput, ProgramLog, stdout_output

ROOT = Path(__file__).resolve().parents[3]
DEADLINE = 30.0
AN_EVENT = b"x" * 9_999 + b"\n"


def read_until(descriptor: int, done: Callable[[bytes], bool]) -> bytes:
    """Read until what has come is all that is expected."""
    found = b""
    while not done(found):
        found += os.read(descriptor, 65_536)
    return found


class WriterCase(SynchronousTestCase):
    """A pipe with a small buffer, written to as a shared stdout is."""

    #: Whether the pipe can be opened anew.
    may_reopen = True

    def setUp(self) -> None:
        self.reading, self.writing = os.pipe()
        self.addCleanup(os.close, self.reading)
        self.addCleanup(os.close, self.writing)
        fcntl.fcntl(self.writing, fcntl.F_SETPIPE_SZ, 4096)
        self.patch(os, "register_at_fork", lambda **_: None)
        if not self.may_reopen:
            self.patch(log_writer, "open_again", os.dup)
        self.writer = LogWriter(self.writing, lambda lost: b"%d lost\n" % lost)
        self.writer.start()
        self.addCleanup(self.drain)

    def drain(self) -> None:
        """Read the rest, so that the thread waits for nothing."""
        os.set_blocking(self.reading, False)
        while self.writer._pending:
            try:
                os.read(self.reading, 65_536)
            except BlockingIOError:
                time.sleep(0.001)


class WriterTests(WriterCase):
    """Writing without waiting."""

    def test_flags_of_the_stream(self) -> None:
        """They are the shell's as well."""
        self.writer.send(AN_EVENT)
        self.assertTrue(os.get_blocking(self.writing))

    def test_reader_that_stands_still(self) -> None:
        """No call waits; what is kept comes in order, whole, when it reads again."""
        sent = [b"%d " % number + AN_EVENT for number in range(20)]
        for each in sent:
            self.writer.send(each)
        whole = b"".join(sent)
        self.assertEqual(
            read_until(self.reading, lambda it: len(it) >= len(whole)), whole
        )
        self.writer.send(b"later\n")
        self.assertEqual(os.read(self.reading, 100), b"later\n")

    def test_loss_is_counted(self) -> None:
        """Memory is bounded; the number stands where the lost events would."""
        total = MOST_KEPT // len(AN_EVENT) + 50
        for _ in range(total):
            self.writer.send(AN_EVENT)
        self.assertLessEqual(self.writer._size, MOST_KEPT)
        self.writer.send(b"lost, too, so that the order is kept\n")
        text = read_until(self.reading, lambda it: it.endswith(b"lost\n"))
        *before, told = text.splitlines(keepends=True)
        self.assertEqual(set(before), {AN_EVENT})
        self.assertEqual(told, b"%d lost\n" % (total + 1 - len(before)))
        self.writer.send(b"after\n")
        self.assertEqual(os.read(self.reading, 100), b"after\n")

    def test_many_small_events(self) -> None:
        """They are written together, as far as a pipe keeps a write whole."""
        written: list[bytes] = []
        write = os.write

        def noted(descriptor: int, data: bytes) -> int:
            if descriptor == self.writing:
                written.append(data)
            return write(descriptor, data)

        self.patch(os, "write", noted)
        sent = [AN_EVENT, *(b"%d %s\n" % (number, b"y" * 100) for number in range(999))]
        for each in sent:
            self.writer.send(each)
        whole = b"".join(sent)
        found = read_until(self.reading, lambda it: len(it) >= len(whole))
        self.assertEqual(found, whole)
        self.assertTrue(all(each.endswith(b"\n") for each in written))
        self.assertLess(len(written), 100)
        self.assertTrue(all(len(each) <= 4096 for each in written[1:]))

    def test_large_event(self) -> None:
        """One that is larger than what is kept is no loss if it is the only one."""
        event = b"z" * (MOST_KEPT + 5)
        self.writer.send(event)
        found = read_until(self.reading, lambda it: len(it) >= len(event))
        self.assertEqual(found, event)

    def test_close_waits_for_the_reader(self) -> None:
        """What was said last is what an operator wants to read; it is whole."""
        for _ in range(5):
            self.writer.send(AN_EVENT)
        found: list[bytes] = []
        size = 5 * len(AN_EVENT)

        def read() -> None:
            found.append(read_until(self.reading, lambda it: len(it) >= size))

        thread = threading.Thread(target=read)
        thread.start()
        self.writer.close(DEADLINE)
        self.assertFalse(self.writer._pending)
        thread.join()
        self.assertEqual(found, [AN_EVENT * 5])

    def test_after_close(self) -> None:
        """The last line of twistd comes behind the end of the reactor's run."""
        self.writer.close(DEADLINE)
        self.writer.send(b"Server Shut Down.\n")
        self.assertFalse(self.writer._pending)

    def test_close_has_one_deadline(self) -> None:
        """A reader that stands still does not keep the program from ending."""
        self.writer.send(AN_EVENT)
        began = time.monotonic()
        self.writer.close(0.05)
        self.assertGreaterEqual(time.monotonic() - began, 0.05)
        self.patch(self.writer._written, "wait_for", self.fail)
        self.writer.send(b"not waited for")
        self.writer.close(DEADLINE)


class AtOnceTests(WriterCase):
    """A stream that has room."""

    def test_written_at_once(self) -> None:
        """It is in the kernel when the call returns, so a crash does not lose it."""
        self.writer.send(b"a\n")
        self.assertEqual(os.read(self.reading, 100), b"a\n")

    def test_call_within_a_call(self) -> None:
        """A finalizer logs while something is written: both arrive, in order."""
        attempt, once = self.writer._try_to_write, [True]
        assert attempt is not None

        def finalizer(data: bytes) -> int:
            if once.pop() if once else False:
                self.writer.send(b"inner\n")
            return attempt(data)

        self.writer._try_to_write = finalizer
        self.writer.send(b"outer\n")
        self.assertEqual(os.read(self.reading, 100), b"outer\ninner\n")


class OtherUsersPipeTests(WriterTests):
    """A pipe that only another user may open: the thread writes everything."""

    may_reopen = False

    def test_nothing_at_once(self) -> None:
        """An attempt could block."""
        self.assertIsNone(self.writer._try_to_write)


class StreamTests(SynchronousTestCase):
    """What else stdout may be."""

    def setUp(self) -> None:
        self.patch(os, "register_at_fork", lambda **_: None)

    def test_nobody_reads_any_more(self) -> None:
        """Nothing raises, nothing is kept; a FIFO's next reader hears of it."""
        reading, writing = os.pipe()
        self.addCleanup(os.close, writing)
        os.close(reading)
        for may_reopen in (True, False):
            if not may_reopen:
                self.patch(log_writer, "open_again", os.dup)
            writer = LogWriter(writing, lambda lost: b"%d lost" % lost)
            writer.start()
            for _ in range(3):
                writer.send(AN_EVENT)
                writer.close(DEADLINE)
            self.assertEqual((writer._size, writer._lost), (0, 3))

    def test_socket(self) -> None:
        """The journal's is one; it stays blocking for others that share it."""
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        writer = LogWriter(ours.fileno(), lambda lost: b"%d lost" % lost)
        writer.start()
        for _ in range(20):
            writer.send(AN_EVENT)
        self.assertTrue(os.get_blocking(ours.fileno()))
        whole = AN_EVENT * 20
        found = read_until(theirs.fileno(), lambda it: len(it) >= len(whole))
        self.assertEqual(found, whole)

    def test_what_may_block(self) -> None:
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        self.addCleanup(os.close, writing)
        self.assertTrue(may_block(writing))
        with Path(self.mktemp()).open("w", encoding="ascii") as file:
            self.assertFalse(may_block(file.fileno()))

    def test_another_process_sets_o_nonblock(self) -> None:
        """The thread waits for room then, too, and nothing is lost."""
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        self.addCleanup(os.close, writing)
        os.set_blocking(writing, False)
        writer = LogWriter(writing, lambda lost: b"%d lost" % lost)
        writer._try_to_write = None
        writer.start()
        for _ in range(20):
            writer.send(AN_EVENT)
        whole = AN_EVENT * 20
        found = read_until(reading, lambda it: len(it) >= len(whole))
        self.assertEqual(found, whole)


class OutputTests(SynchronousTestCase):
    """The program's log on a stdout that is a pipe, or a file."""

    def output(self, path: Path | int) -> LogOutput:
        self.patch(os, "register_at_fork", lambda **_: None)
        self.patch(__import__("atexit"), "register", lambda _: None)
        text = io.TextIOWrapper(io.FileIO(path, "w"), "iso8859-1")
        self.addCleanup(text.close)
        return stdout_output(text, {})

    def log(self, output: LogOutput) -> tuple[ProgramLog, Logger]:
        later = Clock().callLater
        log = ProgramLog(output.observer, later, lambda: None, output.finish)
        return log, Logger("shop", observer=LogPublisher(log))

    def test_pipe(self) -> None:
        """Each character is there, escaped if the encoding lacks it."""
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        _, logger = self.log(self.output(writing))
        logger.info("café → München")
        text = os.read(reading, 1000).decode("iso8859-1")
        self.assertTrue(text.endswith("[shop#info] café \\u2192 München\n"), text)

    def test_notice(self) -> None:
        """Its wording is that of workers."""
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        log, logger = self.log(self.output(writing))
        for _ in range(MOST_KEPT // 10_000 + 50):
            logger.info("x" * 10_000)
        text = read_until(reading, lambda it: b"lost: " in it and it[-1:] == b"\n")
        last = text.decode().splitlines()[-1]
        self.assertRegex(
            last,
            r"^\d{4}-.* \[clusterapp.logs.program#warn\] \d+ lines of the log lost:"
            r" more came than its reader took$",
        )
        lost = int(re.findall(r"(\d+) lines of", last)[0])
        self.assertEqual(text.count(b"x" * 10_000) + lost, MOST_KEPT // 10_000 + 50)
        log.flush()

    def test_regular_file(self) -> None:
        """It has no reader, so it is written to directly."""
        path = Path(self.mktemp())
        _, logger = self.log(self.output(path))
        logger.info("hi")
        self.assertTrue(path.read_text("ascii").endswith("[shop#info] hi\n"))


class ProcessTests(SynchronousTestCase):
    """Processes of their own: forks, and ends."""

    def ended(self, code: str) -> list[str]:
        """Run code with a writer to a pipe that is read to its end."""
        start = "import os, sys, time\nfrom clusterapp.logs.log_writer import *\n"
        start += "writer = LogWriter(1, lambda lost: b'lost')\nwriter.start()\n"
        done = subprocess.run(
            [sys.executable, "-c", start + code],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            check=True,
            text=True,
            timeout=60,
        )
        self.assertEqual(done.stderr, "")
        return done.stdout.splitlines()

    def test_forks(self) -> None:
        """Each writes its own; none writes what its parent has kept."""
        found = self.ended("""if True:
            for n in range(40):
                writer.send(b"parent %d %s\\n" % (n, b"x" * 3000))
            for n in range(3):
                pid = os.fork()
                if not pid:
                    writer.send(b"child %d\\n" % n)
                    os._exit(0)
                os.waitpid(pid, 0)
            writer.close(30)
        """)
        sent = [f"parent {n} " for n in range(40)] + [f"child {n}" for n in range(3)]
        self.assertEqual(sorted(each.rstrip("x") for each in found), sorted(sent))

    def test_fork_without_room(self) -> None:
        """It drops its line after a second; its parent waits for nothing."""
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        code = (
            "import os\nfrom clusterapp.logs.log_writer import *\n"
            "writer = LogWriter(1, lambda lost: b'lost')\nwriter.start()\n"
            "for _ in range(40): writer.send(b'x' * 9000)\n"
            "pid = os.fork()\n"
            "if not pid: writer.send(b'child'); os._exit(7)\n"
            "status = os.waitpid(pid, 0)[1]\n"
            "writer.close(0.1)\n"
            "raise SystemExit(os.waitstatus_to_exitcode(status))\n"
        )
        try:
            done = subprocess.run(
                [sys.executable, "-c", code],
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=writing,
                stderr=subprocess.PIPE,
                check=False,
                timeout=DEADLINE,
            )
        finally:
            os.close(writing)
        self.assertEqual((done.returncode, done.stderr), (7, b""))
