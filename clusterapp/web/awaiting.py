"""Coroutines that await both Deferreds and asyncio's awaitables."""

import asyncio
from collections.abc import Awaitable, Coroutine, Generator
from types import coroutine as generator_coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

T = TypeVar("T")


def in_task(running: Coroutine[Any, Any, T]) -> Awaitable[T]:
    """
    Run a coroutine in an asyncio task, if an asyncio event loop runs in this thread.

    In a task it can await asyncio's futures and timeouts, which Twisted alone does not
    support, and Deferreds as well.

    :param running: the coroutine.
    :return: a Deferred that fires with its result, and whose cancellation cancels the
        task; the coroutine itself if no event loop runs.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return running
    return Deferred.fromFuture(loop.create_task(_with_deferreds(running, loop)))


@generator_coroutine
def _with_deferreds(
    running: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop
) -> Generator[Any, Any, T]:
    """Yield a coroutine's awaited futures to its task, with a future per Deferred."""
    error: BaseException | None = None
    while True:
        try:
            awaited = running.send(None) if error is None else running.throw(error)
        except StopIteration as stop:
            result: T = stop.value
            return result
        error = None
        try:
            if isinstance(awaited, Deferred):
                yield from _fired(awaited, loop)
            else:
                yield awaited
        except GeneratorExit:
            running.close()
            raise
        except BaseException as thrown:  # noqa: BLE001 - the coroutine's to handle
            error = thrown


def _fired(
    awaited: Deferred[Any], loop: asyncio.AbstractEventLoop
) -> Generator[Any, Any, None]:
    """Wait, as a task does, until a Deferred has fired; its result is left in it."""
    future: asyncio.Future[None] = loop.create_future()

    def fired(result: object) -> object:
        if not future.done():
            future.set_result(None)
        return result

    awaited.addBoth(fired)
    try:
        yield from future
    except asyncio.CancelledError:
        awaited.cancel()
