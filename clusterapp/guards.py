"""
Guards for callbacks of event loops, reactors, timers and peers.

An uncaught exception in such a callback affects more than its own connection or task. A
reactor stops polling the descriptor, a `LoopingCall` is never called again, AMP closes
the channel, asyncio drops the connection without a response. So each of these callbacks
is guarded: its exception is logged once, and ends only what `on_error` ends.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

P = ParamSpec("P")

_log = Logger()


def report(
    doing: str, failure: Failure, level: LogLevel = LogLevel.critical, **about: object
) -> None:
    """
    Log the exception of a callback, with its traceback.

    :param doing: the failed action: ``cannot {doing}``.
    :param failure: the exception.
    :param level: the level of the event.
    :param about: more values of the event, such as its ``request``.
    """
    _log.failure("cannot {doing}", failure, level, doing=doing, **about)


def guarded(
    doing: str | Callable[..., str],
    on_error: Callable[..., object] | None = None,
    log: Callable[..., object] = lambda text, failure, *_, **__: report(text, failure),
) -> Callable[[Callable[P, object]], Callable[P, None]]:
    """
    Log the exceptions of a callback instead of raising them.

    Decorates a function or a method; ``guarded("close idle connections")(self._sweep)``
    guards a callback where it is passed on. Exceptions that are not errors, such as
    `asyncio.CancelledError`, `SystemExit` and `KeyboardInterrupt`, are not caught.

    :param doing: the action of the callback, for the log: ``cannot {doing}``; or a
        function that returns it, called with the arguments of the callback.
    :param on_error: ends what the exception affects, such as the connection; called
        with the `Failure` and then the arguments of the callback. Its own exceptions
        are logged as well.
    :param log: logs the exception, as `report` does; called with the text of `doing`,
        the `Failure` and the arguments of the callback.
    :return: the decorator. The decorated callback returns None.
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
            # After the handler: what is raised here does not have that exception as its
            # context, and does not log it again.
            text = doing if isinstance(doing, str) else doing(*args, **kwargs)
            log(text, failure, *args, **kwargs)
            if on_error is not None:

                def log_this(text: str, why: Failure, *_: Any, **__: Any) -> None:
                    log(text, why, *args, **kwargs)

                # `on_error` may fail as well, and has no `on_error` of its own.
                guarded(text, log=log_this)(on_error)(failure, *args, **kwargs)

        return call

    return decorate
