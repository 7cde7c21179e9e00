"""The pipe of log events, in the child: a real pipe, whose reader may be asleep."""

import errno
import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from clusterapp.channel.log_pipe.log_records import RecordReader
from clusterapp.logs.event_pipe import MOST_KEPT, EventPipe

ROOT = Path(__file__).resolve().parents[3]
A_MESSAGE = b"x" * 10_000


class PipeCase(SynchronousTestCase):
    """A pipe with a small buffer, and what comes out of it."""

    def setUp(self) -> None:
        self.reading, writing = os.pipe()
        os.set_blocking(self.reading, False)
        self.pipe = EventPipe(writing, lambda lost: b"%d lost" % lost)
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
        self.reader = RecordReader()
        self.addCleanup(os.close, writing)
        self.addCleanup(lambda: os.close(self.reading))

    def read(self) -> list[bytes]:
        """Read what is there now."""
        try:
            return list(self.reader.feed(os.read(self.reading, 1_000_000)))
        except BlockingIOError:
            return []

    def read_all(self) -> list[bytes]:
        """Read, and let the pipe write, until there is nothing more."""
        found: list[bytes] = []
        while True:
            found += self.read()
            if not self.pipe._pending:
                return found + self.read()
            with self.pipe._lock:  # what the thread does when there is room
                self.pipe._waiting = False
                self.pipe._write()


class PipeTests(PipeCase):
    """Writing without waiting."""

    def test_written_at_once(self) -> None:
        """It is in the kernel when the call returns, so a crash does not lose it."""
        self.pipe.send(b"a")
        self.pipe.send(b"b")
        self.assertEqual(self.read(), [b"a", b"b"])

    def test_reader_that_sleeps(self) -> None:
        """No call waits; what is kept comes in order when it reads again."""
        sent = [b"%d" % n + A_MESSAGE for n in range(20)]
        for each in sent:
            self.pipe.send(each)
        self.assertEqual(self.read_all(), sent)

    def test_loss_is_counted(self) -> None:
        """Memory is bounded; the number stands where the lost messages would."""
        for _ in range(MOST_KEPT // len(A_MESSAGE) + 50):
            self.pipe.send(A_MESSAGE)
        self.assertLessEqual(self.pipe._size, MOST_KEPT)
        self.assertFalse(self.pipe.has_room)
        self.pipe.lose()
        self.pipe.send(b"lost, too, so that the order is kept")
        *before, told = self.read_all()
        total = MOST_KEPT // len(A_MESSAGE) + 50 + 2
        self.assertEqual(told, b"%d lost" % (total - len(before)))
        self.assertTrue(self.pipe.has_room)
        self.pipe.send(b"after")
        self.assertEqual(self.read(), [b"after"])

    def test_nobody_reads_any_more(self) -> None:
        """The master is dead: nothing is kept for it, and nothing raises."""
        os.close(self.reading)
        self.pipe.send(b"a")
        self.pipe.send(A_MESSAGE)
        self.assertEqual((self.pipe._size, len(self.pipe._pending)), (0, 0))
        self.reading, writing = os.pipe()
        self.addCleanup(os.close, writing)

    def test_call_within_a_call(self) -> None:
        """A finalizer logs while something is written: both arrive whole."""
        write, once = os.write, [True]

        def finalizer(descriptor: int, data: bytes) -> int:
            if once.pop() if once else False:
                self.pipe.send(b"inner")
            return write(descriptor, data)

        self.patch(os, "write", finalizer)
        self.pipe.send(A_MESSAGE)
        self.assertEqual(self.read_all(), [A_MESSAGE, b"inner"])

    def test_thread_writes_what_was_kept(self) -> None:
        """The event loop may stand still meanwhile."""
        self.patch(os, "register_at_fork", lambda **_: None)
        self.pipe.start()
        sent = [b"%d" % n + A_MESSAGE for n in range(20)]
        for each in sent:
            self.pipe.send(each)
        os.set_blocking(self.reading, True)
        found: list[bytes] = []
        while len(found) < len(sent):
            found += self.reader.feed(os.read(self.reading, 4096))
        self.assertEqual(found, sent)

    def test_close_waits_for_the_reader(self) -> None:
        """What was said last is what an operator wants to read."""
        sent = [A_MESSAGE] * 5
        for each in sent:
            self.pipe.send(each)
        found: list[bytes] = []
        os.set_blocking(self.reading, True)

        def read() -> None:
            while len(found) < len(sent):
                found.extend(self.reader.feed(os.read(self.reading, 4096)))

        thread = threading.Thread(target=read)
        thread.start()
        self.assertEqual(self.pipe.close(30.0), 0)
        thread.join()
        self.assertEqual(found, sent)

    def test_close_has_a_deadline(self) -> None:
        """A master that is stopped does not keep a worker from ending."""
        for _ in range(3):
            self.pipe.send(A_MESSAGE)
        self.pipe.lose()
        self.assertEqual(self.pipe.close(0.01), 4)  # the first has only begun to arrive
        self.pipe.send(b"not waited for")
        self.assertLessEqual(self.pipe._lost, 2)

    def test_close_counts_what_a_notice_tells(self) -> None:
        """A notice that is not sent any more must not count as one line."""
        for _ in range(MOST_KEPT // len(A_MESSAGE)):
            self.pipe.send(A_MESSAGE)
        for _ in range(1000):
            self.pipe.lose()
        found: list[bytes] = []
        while self.pipe._lost:  # a slow reader
            found += self.read()
            with self.pipe._lock:
                self.pipe._waiting = False
                self.pipe._write()
        lost = self.pipe.close(0.0)
        found += self.read()  # what the kernel has
        self.assertEqual(len(found) + lost, MOST_KEPT // len(A_MESSAGE) + 1000)

    def test_other_descriptors_are_not_written_to(self) -> None:
        """A forked process that has closed the pipe may have opened something else."""
        self.pipe._was_forked()
        self.patch(os, "fstat", lambda _: Path("/").stat())
        self.pipe.send(b"a")
        self.assertEqual(self.read(), [])

    def test_not_for_other_programs(self) -> None:
        self.assertFalse(os.get_inheritable(self.pipe._descriptor))

    def test_user_has_no_pipe_memory_left(self) -> None:
        def refuse(*_: object) -> int:
            raise OSError(errno.EPERM, "")

        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        self.addCleanup(os.close, writing)
        self.patch(fcntl, "fcntl", refuse)
        EventPipe(writing, lambda _: b"").send(b"a")
        self.assertEqual(list(RecordReader().feed(os.read(reading, 100))), [b"a"])


class ForkTests(SynchronousTestCase):
    """Processes that the child forks, in a process of its own."""

    def test_forks(self) -> None:
        """Each sends its own, whole; none writes what another one has kept."""
        code = """if True:
            import os, sys
            from clusterapp.channel.log_pipe.log_records import RecordReader
            from clusterapp.logs.event_pipe import EventPipe
            reading, writing = os.pipe()
            pipe = EventPipe(writing, lambda lost: b"lost")
            pipe.start()
            for n in range(40):  # more than the kernel takes
                pipe.send(b"parent %d " % n + b"x" * 9000)
            pids = []
            for n in range(3):
                pid = os.fork()
                if not pid:
                    for m in range(5):
                        pipe.send(b"child %d %d " % (n, m) + b"y" * 9000)
                    os._exit(0)
                pids.append(pid)
            reader, found = RecordReader(), []
            while len(found) < 55:
                found += reader.feed(os.read(reading, 65536))
            for pid in pids: os.waitpid(pid, 0)
            print(*sorted(each.rstrip(b"xy").decode() for each in found), sep="\\n")
        """
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            check=True,
            text=True,
            timeout=60,
        )
        sent = [f"parent {n} " for n in range(40)]
        sent += [f"child {n} {m} " for n in range(3) for m in range(5)]
        self.assertEqual(done.stdout.splitlines(), sorted(sent))
