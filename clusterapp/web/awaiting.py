"""Running coroutines that await both Deferreds and what asyncio libraries give."""

import asyncio
from collections.abc import Awaitable, Coroutine, Generator
from types import coroutine as generator_coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

T = TypeVar("T")


def in_task(running: Coroutine[Any, Any, T]) -> Awaitable[T]:
    """
    Run a coroutine in an asyncio task, if asyncio's event loop runs here.

    In a task it may await futures, and timeouts of asyncio, which Twisted alone does
    not understand; it may await Deferreds as well.

    :param running: the coroutine.
    :return: what fires with its result: a Deferred, whose cancellation cancels the
        task. Where no event loop runs it is the coroutine itself.
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
    """Pass on what a coroutine yields to its task, a future for each Deferred."""
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
    """Wait until a Deferred has a result, which it then gives by itself."""
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
