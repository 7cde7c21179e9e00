"""Coroutines that await Deferreds, and futures of asyncio, in one task."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.web.awaiting import in_task

Test = Callable[[asyncio.AbstractEventLoop], Awaitable[Any]]


class InTaskTests(SynchronousTestCase):
    """Results and exceptions come back, and cancellation reaches what is awaited."""

    def run_loop(
        self, test: Callable[[asyncio.AbstractEventLoop], Awaitable[Any]]
    ) -> Any:
        loop = asyncio.new_event_loop()
        self.addCleanup(loop.close)

        async def run() -> Any:
            return await asyncio.wait_for(test(loop), 30)

        return loop.run_until_complete(run())

    async def outcome(
        self, awaited: Awaitable[Any], loop: asyncio.AbstractEventLoop
    ) -> Any:
        assert isinstance(awaited, Deferred)
        return await awaited.asFuture(loop)

    def test_both_kinds(self) -> None:
        async def test(loop: asyncio.AbstractEventLoop) -> Any:
            late: Deferred[str] = Deferred()

            async def running() -> list[object]:
                loop.call_soon(late.callback, "late")
                found: list[object] = [await late, await succeed("at once")]
                await asyncio.sleep(0.001)
                async with asyncio.timeout(30):
                    await asyncio.sleep(0)
                found.append(asyncio.current_task() is not None)
                return found

            return await self.outcome(in_task(running()), loop)

        self.assertEqual(self.run_loop(test), ["late", "at once", True])

    def test_exceptions(self) -> None:
        """Of a Deferred and of a future; they can be handled."""

        async def test(loop: asyncio.AbstractEventLoop) -> Any:
            failing: Deferred[None] = Deferred()

            async def fail() -> None:
                raise KeyError

            async def running() -> None:
                loop.call_soon(failing.errback, ValueError("no"))
                with self.assertRaisesRegex(ValueError, "no"):
                    await failing
                with self.assertRaises(KeyError):
                    await asyncio.ensure_future(fail())
                raise ZeroDivisionError

            with self.assertRaises(ZeroDivisionError):
                await self.outcome(in_task(running()), loop)

        self.run_loop(test)

    def test_cancelled(self) -> None:
        """What a Deferred is told is what it would be told without a task."""

        async def test(loop: asyncio.AbstractEventLoop) -> Any:
            told: list[type] = []

            async def waits(awaited: Awaitable[Any], ended: asyncio.Event) -> None:
                try:
                    await awaited
                except BaseException as error:
                    told.append(type(error))
                    raise
                finally:
                    ended.set()

            never: Deferred[None] = Deferred()
            for awaited in (never, loop.create_future()):
                ended = asyncio.Event()
                task = in_task(waits(awaited, ended))
                assert isinstance(task, Deferred)
                await asyncio.sleep(0)
                task.addErrback(Failure.trap, CancelledError, asyncio.CancelledError)
                task.cancel()
                await ended.wait()
            return told

        self.assertEqual(self.run_loop(test), [CancelledError, asyncio.CancelledError])

    def test_without_a_loop(self) -> None:
        """The coroutine is awaited as ever."""

        async def running() -> int:
            return 3

        made = running()
        self.assertIs(in_task(made), made)
        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(made)), 3)
