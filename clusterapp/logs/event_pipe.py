"""The child's end of the pipe of log events: writing to it never blocks."""

import fcntl
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import NamedTuple

from clusterapp.channel.log_pipe.log_records import records_of

#: The most bytes that are kept while the master does not read; later events are
#: dropped.
MOST_KEPT = 1_048_576

#: The size of the kernel's buffer in bytes (pipe(7)), so that events written before a
#: crash still arrive.
_KERNEL_BUFFER = 262_144

#: The seconds that a forked process waits for room: it has no writer thread.
_FORKED_TIMEOUT = 1.0


class PendingRecord(NamedTuple):
    """
    A record that is kept until the pipe has room.

    :param record: the bytes of one write.
    :param lines: the number of log lines that are lost if it does not arrive: the
        number that a notice reports, 1 for any other message; 0 for all but its last
        record.
    """

    record: bytes
    lines: int


class EventPipe:
    """
    Sends messages to the master, in their order; thread-safe.

    A message is written at once if the pipe has room. Otherwise it is kept, and a
    thread writes it later: the event loop may be blocked. Beyond `MOST_KEPT` bytes
    messages are dropped and counted until half of that is written; then a notice with
    the count is sent in their place.

    A finalizer or a signal handler may call `send` within `send`: the lock is
    reentrant, and the messages of the inner call are written by the outer one.

    :param descriptor: the write end, which this object owns.
    :param notice: returns the message that reports the number of lost lines.
    """

    def __init__(self, descriptor: int, notice: Callable[[int], bytes]) -> None:
        self._descriptor = descriptor
        self._notice = notice
        self._inode = os.fstat(descriptor).st_ino
        self._pid = os.getpid()
        self._pending: deque[PendingRecord] = deque()
        self._size = self._lost = 0
        self._lock = threading.RLock()
        self._writing = self._waiting = self._gone = False
        #: The seconds that `send` waits for room in processes without the thread.
        self._send_timeout: float | None = None
        #: Wakes the thread. Unlike an Event, it can be used in finalizers and signal
        #: handlers.
        self._bell: SimpleQueue[None] = SimpleQueue()
        os.set_inheritable(descriptor, False)
        os.set_blocking(descriptor, False)
        # The user's limit of such memory may be reached (pipe(7)).
        with suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _KERNEL_BUFFER)

    def start(self) -> None:
        """Start the writer thread, and register handlers for forks of this process."""
        os.register_at_fork(
            before=self._lock_for_fork,
            after_in_parent=self._forked_here,
            after_in_child=self._was_forked,
        )
        threading.Thread(target=self._run, name="log", daemon=True).start()

    @property
    def has_room(self) -> bool:
        """Whether a message would be kept; checked before one is formatted."""
        return not self._lost and self._size < MOST_KEPT

    def lose(self) -> None:
        """Count a message that was not formatted for lack of room."""
        with self._lock:
            self._lost += 1

    def send(self, message: bytes) -> None:
        """Send a message, or drop and count it."""
        records, size = self._records_of(message, lines=1)
        with self._lock:
            if self._gone:
                return
            if self._lost or self._size + size > MOST_KEPT:
                self._lost += 1
                return
            self._keep(records, size)
            if self._send_timeout is not None:
                self._send_now(self._send_timeout)
                self._forget()
            elif not self._waiting:
                self._write()

    def close(self, seconds: float) -> int:
        """
        Write what is kept: the process exits, and later messages are not waited for.

        :param seconds: the longest time to wait for a master that does not read.
        :return: the number of lost log lines, with those of a notice that was not sent.
        """
        with self._lock:
            self._send_now(seconds)
            self._send_timeout = 0.0
            return self._lost + sum(each.lines for each in self._pending)

    def _records_of(
        self, message: bytes, lines: int
    ) -> tuple[list[PendingRecord], int]:
        """Return the records of a message, and their total size in bytes."""
        *first, last = records_of(self._pid, message)
        records = [
            *(PendingRecord(each, 0) for each in first),
            PendingRecord(last, lines),
        ]
        return records, sum(len(each.record) for each in records)

    def _keep(self, records: list[PendingRecord], size: int) -> None:
        # No other call between: any call may run a finalizer, which may come here as
        # well.
        self._pending.extend(records)
        self._size += size

    def _forget(self) -> None:
        self._pending.clear()
        self._size = 0

    def _write(self) -> None:
        if self._writing:
            return
        self._writing = True
        try:
            while self._pending:
                self._check_descriptor()
                os.write(self._descriptor, self._pending[0].record)
                size = len(self._pending.popleft().record)
                self._size -= size
                if self._lost and self._size <= MOST_KEPT // 2:
                    self._tell_lost()
        except BlockingIOError:
            self._waiting = True
            self._bell.put(None)
        except OSError:  # the master has exited
            self._gone = True
            self._forget()
        finally:
            self._writing = False

    def _tell_lost(self) -> None:
        lost, self._lost = self._lost, 0
        self._keep(*self._records_of(self._notice(lost), lines=lost))

    def _send_now(self, seconds: float) -> None:
        """Write what is kept; wait at most so many seconds for room."""
        until = time.monotonic() + seconds
        self._write()
        while self._pending and (left := until - time.monotonic()) > 0:
            if not self._writable(left):
                return
            self._write()

    def _writable(self, seconds: float | None = None) -> bool:
        """Wait until the pipe has room, or no reader; return whether it has."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        return bool(poll.poll(None if seconds is None else seconds * 1000))

    def _run(self) -> None:
        while not self._gone:
            self._bell.get()
            self._writable()
            with self._lock:
                self._waiting = False
                self._write()

    # fork(2): the child has this thread only, and shares the pipe.

    def _lock_for_fork(self) -> None:
        self._lock.acquire()

    def _forked_here(self) -> None:
        self._lock.release()

    def _was_forked(self) -> None:
        self._lock = threading.RLock()
        self._forget()  # the parent writes these
        self._lost = 0
        self._writing = self._waiting = False
        self._pid = os.getpid()
        self._send_timeout = _FORKED_TIMEOUT

    def _check_descriptor(self) -> None:
        """Raise an error if the descriptor is another file's by now (in a fork)."""
        if (
            self._send_timeout is not None
            and os.fstat(self._descriptor).st_ino != self._inode
        ):
            raise OSError("the pipe has been closed")
