"""A note on the errors of coroutines that need an asyncio task, and run in none."""

import asyncio

NOTE = (
    "Twisted runs this coroutine, which awaits Deferreds only. What asyncio is to run"
    " becomes one by Deferred.fromFuture(asyncio.ensure_future(...)), as in: await"
    " Deferred.fromFuture(asyncio.ensure_future(asyncio.sleep(1)))"
)

#: What asyncio says where a coroutine that awaits a future runs in no task, and where
#: `asyncio.timeout` and aiohttp miss one.
_SAID = (
    ("await wasn't used with future",),
    ("Timeout should be used inside a task",),
    ("Timeout context manager should be used inside a task",),
)


def add_future_note(error: BaseException | None) -> None:
    """
    Add a note that names the cure to such an error; do nothing to any other.

    Where no event loop of asyncio runs it would be none: see
    `clusterapp.master.core.no_asyncio`.

    :param error: an exception that is about to be logged.
    """
    # The words of other classes are an application's to make, which may fail.
    if type(error) is not RuntimeError or error.args not in _SAID:
        return
    if asyncio._get_running_loop() is None:  # noqa: SLF001 - it is documented
        return
    if NOTE not in getattr(error, "__notes__", ()):
        error.add_note(NOTE)
