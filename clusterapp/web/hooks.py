"""The start and stop hooks of an application."""

from collections.abc import Callable
from inspect import isawaitable, iscoroutine
from typing import TypeVar

from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from clusterapp.errors import StartHookError
from clusterapp.tracebacks import summary_of
from clusterapp.web.awaiting import in_task

#: Called without arguments (or with the instance that the application is bound to).
#: An awaitable result is awaited: a Deferred, or a coroutine that awaits Deferreds. If
#: an asyncio event loop runs, a coroutine can await asyncio's futures, too.
Hook = Callable[..., object]
HookT = TypeVar("HookT", bound=Hook)


class Hooks:
    """
    The start and stop hooks of one side of an application.

    :param instance: passed to every hook as its only argument, as Klein passes it to
        routes declared in a class body; None for plain functions.
    :param start: the start hooks, to which `on_start` adds.
    :param stop: the stop hooks, to which `on_stop` adds.
    """

    _log = Logger()

    def __init__(
        self,
        instance: object = None,
        start: list[Hook] | None = None,
        stop: list[Hook] | None = None,
    ) -> None:
        self._instance = instance
        self._start: list[Hook] = [] if start is None else start
        self._stop: list[Hook] = [] if stop is None else stop

    def on_start(self, hook: HookT) -> HookT:
        """Register a hook to run before the first request (a decorator)."""
        self._start.append(hook)
        return hook

    def on_stop(self, hook: HookT) -> HookT:
        """Register a hook to run after the last request (a decorator)."""
        self._stop.append(hook)
        return hook

    def bound_to(self, instance: object) -> "Hooks":
        """Return the same hooks, to be called with ``instance``."""
        return Hooks(instance, self._start, self._stop)

    def __bool__(self) -> bool:
        """Return whether any hook is registered."""
        return bool(self._start or self._stop)

    async def run_start(self) -> None:
        """
        Run the start hooks, each after the previous one has finished.

        :raises StartHookError: if a hook fails; the hooks after it are not run.
        """
        for hook in tuple(self._start):
            try:
                await self._run(hook)
            except CancelledError:  # by a stop
                raise
            except Exception as error:
                raise StartHookError(_name(hook), summary_of(error)) from error

    async def run_stop(self) -> None:
        """
        Run every stop hook, the last registered first.

        A hook that fails is logged, and the remaining hooks still run.
        """
        for hook in reversed(tuple(self._stop)):
            try:
                await self._run(hook)
            except Exception:  # noqa: BLE001 - logged; the remaining hooks must run
                self._log.failure("the stop hook {hook} failed", hook=_name(hook))

    async def _run(self, hook: Hook) -> None:
        result = hook() if self._instance is None else hook(self._instance)
        if iscoroutine(result):
            await in_task(result)
        elif isawaitable(result):
            await result


def _name(hook: Hook) -> str:
    """Return the qualified name of a hook with its module, for the log."""
    name = getattr(hook, "__qualname__", repr(hook))
    return f"{getattr(hook, '__module__', '?')}.{name}"
