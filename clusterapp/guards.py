"""
Guards for callbacks: what an event loop, a reactor, a timer or a peer calls.

An exception that leaves such a callback ends more than what it is about. A reactor
stops watching the descriptor, a `LoopingCall` is never called again, AMP closes the
channel, asyncio drops the connection without a response. So each of these callbacks
is guarded: its exception is logged once, and ends what `on_error` ends.
"""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from twisted.logger import Logger
from twisted.python.failure import Failure

P = ParamSpec("P")

_log = Logger()


def guarded(
    doing: str | Callable[..., str], on_error: Callable[..., object] | None = None
) -> Callable[[Callable[P, object]], Callable[P, None]]:
    """
    Keep exceptions within a callback.

    Decorates a function or a method; ``guarded("close idle connections")(self._sweep)``
    guards a callback where it is passed on. Exceptions that are not errors, such as
    `asyncio.CancelledError`, `SystemExit` and `KeyboardInterrupt`, pass.

    :param doing: what the callback does, for the log: ``cannot {doing}``; or what
        tells that, called with the arguments of the callback.
    :param on_error: ends what the exception is about; called with the `Failure` and
        then the arguments of the callback. Its own exceptions are logged as well.
    :return: the decorator. What it makes returns None.
    """

    def decorate(callback: Callable[P, object]) -> Callable[P, None]:
        @wraps(callback)
        def call(*args: P.args, **kwargs: P.kwargs) -> None:
            try:
                callback(*args, **kwargs)
            except Exception:  # noqa: BLE001 - whatever it is ends one thing only
                failure = Failure()
            else:
                return
            # Behind the handler: what is raised here has that exception not for its
            # context, and does not show it in the log again.
            text = doing if isinstance(doing, str) else doing(*args, **kwargs)
            report(text, failure)
            if on_error is not None:
                # What ends it may fail as well, and has nothing more to end.
                guarded(text)(on_error)(failure, *args, **kwargs)

        return call

    return decorate


def report(doing: str, failure: Failure) -> None:
    """
    Log the exception of a callback, with its traceback.

    :param doing: what failed: ``cannot {doing}``.
    :param failure: the exception.
    """
    _log.failure("cannot {doing}", failure, doing=doing)
