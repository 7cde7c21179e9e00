"""What the events of one turn of an event loop share: calls at the turn's end."""

from collections.abc import Callable

from clusterapp.guards import guarded


class TurnEnd:
    """
    Calls at the end of the current turn of an event loop.

    Those of one turn share one entry in the loop.

    :param call_soon: schedules a call before the loop next waits for events, such as
        `asyncio.AbstractEventLoop.call_soon`.
    """

    __slots__ = ("_call_soon", "_calls")

    def __init__(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        self._call_soon = call_soon
        self._calls: list[Callable[[], None]] = []

    def add(self, call: Callable[[], None]) -> None:
        """
        Add a call.

        :param call: called once, after those that were added before; its exceptions are
            logged.
        """
        if not self._calls:
            self._call_soon(self._end)
        self._calls.append(call)

    def _end(self) -> None:
        calls, self._calls = self._calls, []
        for call in calls:
            _finish(call)


@guarded("finish a turn of the event loop")
def _finish(call: Callable[[], None]) -> None:
    call()
