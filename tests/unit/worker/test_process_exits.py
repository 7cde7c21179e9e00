"""Exits of processes on a worker's event loop."""

import asyncio
import errno
import os
from typing import Any

from twisted.internet.process import reapProcessHandlers
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.worker.process_exits import reap_when_exited

DEADLINE = 30


class FakeProcess:
    """A real process without a reactor: it is reaped as Twisted does it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.reaped: asyncio.Future[int] = loop.create_future()
        self.pid: int | None = os.posix_spawn("/bin/sh", ["sh", "-c", "exit 3"], {})
        reapProcessHandlers[self.pid] = self  # type: ignore[assignment]

    def reapProcess(self) -> None:
        assert self.pid is not None
        _, status = os.waitpid(self.pid, 0)
        del reapProcessHandlers[self.pid]
        self.reaped.set_result(os.waitstatus_to_exitcode(status))


class ExitTests(SynchronousTestCase):
    """Each process is reaped, once."""

    def setUp(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.addCleanup(self.loop.close)

    def reap(self) -> int:
        async def run() -> int:
            process = FakeProcess(self.loop)
            reap_when_exited(self.loop, process)
            return await asyncio.wait_for(process.reaped, DEADLINE)

        return self.loop.run_until_complete(run())

    def test_reaped(self) -> None:
        before = os.listdir("/proc/self/fd")  # noqa: PTH208
        self.assertEqual(self.reap(), 3)
        self.assertEqual(os.listdir("/proc/self/fd"), before)  # noqa: PTH208

    def test_without_pidfd(self) -> None:
        """A thread waits where the kernel, or a filter, knows none."""

        def refuse(*_: object) -> int:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

        self.patch(os, "pidfd_open", refuse)
        self.assertEqual(self.reap(), 3)

    def test_reaped_before(self) -> None:
        """Twisted has looked by itself, when a pipe was closed."""

        async def run() -> None:
            process = FakeProcess(self.loop)
            process.reapProcess()
            pid, process.pid = process.pid, None
            reap_when_exited(self.loop, process)
            self.assertNotIn(pid, reapProcessHandlers)

        self.loop.run_until_complete(run())

    def test_number_that_is_another_process_by_now(self) -> None:
        """It is not the first one's to reap."""

        async def run() -> Any:
            process = FakeProcess(self.loop)
            assert process.pid is not None
            reap_when_exited(self.loop, process)
            del reapProcessHandlers[process.pid]
            os.waitpid(process.pid, 0)  # noqa: ASYNC222 - it exits by itself
            await asyncio.sleep(0)  # the exit is seen in the loop's next turns
            await asyncio.sleep(0)
            return process.reaped.done()

        self.assertIs(self.loop.run_until_complete(run()), False)
