"""A note on errors of coroutines that need an asyncio task but run in none."""

import asyncio

NOTE = (
    "Twisted runs this coroutine, which awaits Deferreds only. What asyncio is to run"
    " becomes one by Deferred.fromFuture(asyncio.ensure_future(...)), as in: await"
    " Deferred.fromFuture(asyncio.ensure_future(asyncio.sleep(1)))"
)

#: The messages of asyncio if a coroutine that awaits a future runs outside a task, and
#: if `asyncio.timeout` and aiohttp find no task.
_SAID = (
    ("await wasn't used with future",),
    ("Timeout should be used inside a task",),
    ("Timeout context manager should be used inside a task",),
)


def add_future_note(error: BaseException | None) -> None:
    """
    Add a note with the remedy to such an error; do nothing to any other.

    Where no asyncio event loop runs, the remedy would not work: see
    `clusterapp.master.core.no_asyncio`.

    :param error: an exception that is about to be logged.
    """
    # The message of another class may be computed by the application, which may fail.
    if type(error) is not RuntimeError or error.args not in _SAID:
        return
    if asyncio._get_running_loop() is None:  # noqa: SLF001 - it is documented
        return
    if NOTE not in getattr(error, "__notes__", ()):
        error.add_note(NOTE)
