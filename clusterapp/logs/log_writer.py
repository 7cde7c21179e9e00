"""Writing of the program's log to a stream whose reader may stand still."""

import io
import os
import select
import socket
import stat
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import islice
from queue import SimpleQueue
from typing import NamedTuple

from clusterapp.logs.log_output import open_again
from clusterapp.system.descriptors import adopt_shared

#: The most bytes that are kept while the reader stands still; later events are dropped.
MOST_KEPT = 1_048_576

#: The most events that the thread writes at once.
_MOST_EVENTS = 64

#: The seconds that a forked process waits for room: it has no writer thread.
_FORKED_TIMEOUT = 1.0


class PendingWrite(NamedTuple):
    """
    Bytes that are to be written.

    :param data: the bytes.
    :param lines: the number of log lines that are lost if they are not written: the
        number that a notice reports, 1 for an event.
    """

    data: bytes
    lines: int


class LogWriter:
    """
    Writes events to a pipe, a terminal or a socket, in their order; thread-safe.

    No caller waits for the reader. An event is written at once if the stream has room,
    so that it outlives a crash. Otherwise it is kept, and a thread writes it, which may
    block. Beyond `MOST_KEPT` bytes events are dropped and counted until half of that
    is written; then a notice with the count is written in their place.

    The flags of the stream are not changed: other processes, such as the shell, share
    its open file description. The stream is opened anew instead, or, if this process
    may not do that, written to by the thread only.

    A finalizer or a signal handler may call `send` within `send`: the lock is
    reentrant, and the events of the inner call are written by the outer one.

    :param descriptor: the stream, which stays open.
    :param notice: returns the event that reports the number of lost lines.
    """

    def __init__(self, descriptor: int, notice: Callable[[int], bytes]) -> None:
        self._descriptor = descriptor
        self._notice = notice
        self._try_to_write = _without_blocking(descriptor)
        self._pending: deque[PendingWrite] = deque()
        self._size = self._lost = 0
        #: Whether a caller is writing, which holds the lock, or the thread, which has
        #: released it.
        self._writing = self._thread_writes = False
        self._forked = False
        #: The seconds for which events are waited for, once the process exits.
        self._send_timeout: float | None = None
        self._thread: threading.Thread | None = None
        #: Wakes the thread. Unlike an Event, it can be used in finalizers and signal
        #: handlers.
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._make_locks()

    def start(self) -> None:
        """Start the writer thread, and register handlers for forks of this process."""
        os.register_at_fork(
            before=self._lock_for_fork,
            after_in_parent=self._forked_here,
            after_in_child=self._was_forked,
        )
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def send(self, event: bytes) -> None:
        """Write an event, keep it, or drop and count it."""
        with self._lock:
            self._tell_lost()
            # One that is larger than all that may be kept is not dropped for that.
            is_full = self._size > 0 and self._size + len(event) > MOST_KEPT
            if self._lost or is_full:
                self._lost += 1
                return
            self._keep(PendingWrite(event, lines=1))
            if not self._writing:
                self._write()
                self._wait()

    def close(self, seconds: float) -> None:
        """
        Write what is kept: the process exits; later events are waited for as well.

        :param seconds: the longest time to wait for a reader that stands still. When it
            is over, nothing is waited for any more.
        """
        with self._lock:
            if self._send_timeout is None:
                self._send_timeout = seconds
            self._wait()

    def _make_locks(self) -> None:
        self._lock = threading.RLock()
        self._written = threading.Condition(self._lock)

    def _keep(self, pending: PendingWrite) -> None:
        # No other call between: any call may run a finalizer, which may come here as
        # well.
        self._pending.append(pending)
        self._size += len(pending.data)

    def _tell_lost(self) -> None:
        if self._lost and self._size <= MOST_KEPT // 2:
            lost, self._lost = self._lost, 0
            self._keep(PendingWrite(self._notice(lost), lost))

    def _write(self) -> None:
        if self._thread_writes:
            return
        self._writing = True
        try:
            if self._forked:
                self._write_in_fork()
            else:
                self._write_at_once()
        finally:
            self._writing = False
        if self._pending:
            self._bell.put(None)

    def _write_at_once(self) -> None:
        """Write as much as does not block."""
        try:
            while self._pending and self._try_to_write is not None:
                self._took(self._try_to_write(self._pending[0].data))
        except BlockingIOError:
            pass
        except OSError:
            self._lose_pending()

    def _took(self, sent: int) -> None:
        """Remove written bytes, which may end within an event."""
        self._size -= sent
        while self._pending and len(self._pending[0].data) <= sent:
            sent -= len(self._pending.popleft().data)
        if sent:
            first = self._pending.popleft()
            self._pending.appendleft(first._replace(data=first.data[sent:]))
        self._tell_lost()

    def _lose_pending(self) -> None:
        """Count what is kept as lost: it cannot be written, as without a reader."""
        while self._pending:
            first = self._pending.popleft()
            self._size -= len(first.data)
            self._lost += first.lines

    def _wait(self) -> None:
        """At exit, wait until everything is written, unless that was in vain before."""
        if not self._send_timeout or threading.current_thread() is self._thread:
            return
        if not self._written.wait_for(lambda: not self._pending, self._send_timeout):
            self._send_timeout = 0.0

    def _run(self) -> None:
        while True:
            self._bell.get()
            while data := self._batch():
                sent = self._write_blocking(data)
                with self._lock:
                    if sent is None:
                        self._lose_pending()
                    else:
                        self._took(sent)
                    self._thread_writes = False
            with self._lock:
                self._written.notify_all()

    def _batch(self) -> bytes:
        """
        Return what the thread is to write next; callers write nothing meanwhile.

        These are as many events as a pipe does not mix with those of other writers, at
        least one: after each write the thread waits for the interpreter's lock.
        """
        with self._lock:
            while self._pending:
                self._thread_writes = True
                size, batch = 0, list[bytes]()
                for each in list(islice(self._pending, _MOST_EVENTS)):
                    size += len(each.data)
                    if size > select.PIPE_BUF and batch:
                        break
                    batch.append(each.data)
                if batch:  # a finalizer may have written them
                    return b"".join(batch)
                self._thread_writes = False
        return b""

    def _write_blocking(self, data: bytes) -> int | None:
        """Write, however long that takes; return the number of bytes, None if none."""
        try:
            return os.write(self._descriptor, data)
        except BlockingIOError:  # another process has set O_NONBLOCK
            self._has_room()
            return 0
        except OSError:
            return None

    def _has_room(self, seconds: float | None = None) -> bool:
        """Wait until the stream has room, or no reader; return whether it has."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        return bool(poll.poll(None if seconds is None else seconds * 1000))

    # fork(2): the child has one thread, and shares the stream.

    def _lock_for_fork(self) -> None:
        self._lock.acquire()

    def _forked_here(self) -> None:
        self._lock.release()

    def _was_forked(self) -> None:
        self._make_locks()
        self._pending.clear()  # the parent writes these
        self._size = self._lost = 0
        self._thread_writes = False
        self._forked = True

    def _write_in_fork(self) -> None:
        """Write what is kept, to the number of the stream; drop it without room."""
        until = time.monotonic() + _FORKED_TIMEOUT
        with suppress(OSError):
            while self._pending and self._has_room(max(0.0, until - time.monotonic())):
                # A pipe that has room takes so much without waiting (pipe(7)).
                data = self._pending[0].data[: select.PIPE_BUF]
                self._took(os.write(self._descriptor, data))
        self._pending.clear()
        self._size = 0


class LogStream(io.TextIOBase):
    """
    A text stream for `twisted.logger.FileLogObserver`, each write of which is an event.

    :param writer: writes the events.
    :param charset: the encoding; characters that it lacks are escaped.
    """

    def __init__(self, writer: LogWriter, charset: str) -> None:
        super().__init__()
        self._writer = writer
        self._charset = charset

    def write(self, text: str, /) -> int:
        """Write an event."""
        self._writer.send(text.encode(self._charset, "backslashreplace"))
        return len(text)


def may_block(descriptor: int) -> bool:
    """Return whether writing to an open descriptor may wait for a reader."""
    return not stat.S_ISREG(os.fstat(descriptor).st_mode)


def _without_blocking(descriptor: int) -> Callable[[bytes], int] | None:
    """Return a function that writes or raises BlockingIOError; None if none can."""
    try:
        again = open_again(descriptor)
    except OSError:  # no descriptor is left
        return None
    if stat.S_ISSOCK(os.fstat(again).st_mode):
        connection = adopt_shared(again)
        return lambda data: connection.send(data, socket.MSG_DONTWAIT)
    if os.get_blocking(again):  # a duplicate: another user's pipe, or no /proc
        os.close(again)
        return None
    return partial(os.write, again)
