"""What is logged in other ways than by `twisted.logger`, made into its events."""

import logging
import sys
import threading
import warnings
from collections.abc import Iterable
from types import TracebackType
from typing import TextIO

from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

_threads = Logger("threading")
_warnings = Logger("py.warnings")
_unraisable = Logger("sys.unraisablehook")
_uncaught = Logger("sys.excepthook")

_LEVELS: tuple[tuple[int, LogLevel], ...] = (
    (logging.CRITICAL, LogLevel.critical),
    (logging.ERROR, LogLevel.error),
    (logging.WARNING, LogLevel.warn),
    (logging.INFO, LogLevel.info),
)


class EventHandler(logging.Handler):
    """
    A handler of `logging` that makes records into events.

    The namespace is the logger's name. A traceback is the event's failure, unless a
    formatter of the application's writes it.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Log a record; called by `logging`."""
        try:
            failure = None if self.formatter else _failure_of(record)
            text = self.format(record) if self.formatter else _message(record)
            log_record(record, text, failure)
        except Exception:  # noqa: BLE001 - as every handler of `logging` does
            self.handleError(record)


def log_record(
    record: logging.LogRecord, text: str, failure: Failure | None = None
) -> None:
    """
    Make an event of a record, with its level and the name of its logger.

    :param text: the message, or what a formatter has made of the record.
    :param failure: the exception that it tells of, unless the text has its traceback.
    """
    logger = Logger(record.name or "root")
    level = level_of(record.levelno)
    if failure is None:
        logger.emit(level, "{text}", text=text)
    else:
        logger.failure("{text}", failure, level, text=text)


def _message(record: logging.LogRecord) -> str:
    text = record.getMessage()
    return f"{text}\n{record.stack_info}" if record.stack_info else text


def _failure_of(record: logging.LogRecord) -> Failure | None:
    if not record.exc_info or record.exc_info[1] is None:
        return None
    kind, error, traceback = record.exc_info
    return Failure(error, kind, traceback)


def level_of(number: int) -> LogLevel:
    """Return the level of `twisted.logger` for a number of `logging`."""
    for least, level in _LEVELS:
        if number >= least:
            return level
    lowest: LogLevel = LogLevel.debug
    return lowest


def capture_logging() -> None:
    """
    Make events of the records of `logging` for which no handler is configured.

    The root logger keeps its level (WARNING) and has no handler, so that
    `logging.basicConfig` does what the application expects.
    """
    # Its level is that of `logging.lastResort`: the root logger's own decides.
    logging.lastResort = EventHandler()


def adopt_handlers(streams: Iterable[TextIO]) -> None:
    """
    Replace the application's stream handlers by ones that make events.

    Lines on a stream have no level. Filters, level and format stay as they are, but
    for the format of `logging.basicConfig`, which repeats level and name.

    :param streams: this process's stdout and stderr.
    """
    known = [logging.getLogger(), *logging.root.manager.loggerDict.values()]
    for logger in known:
        if isinstance(logger, logging.Logger):
            logger.handlers[:] = [
                _adopted(each, list(streams)) for each in logger.handlers
            ]


def _adopted(handler: logging.Handler, streams: list[TextIO]) -> logging.Handler:
    if type(handler) is not logging.StreamHandler or handler.stream not in streams:
        return handler
    adopted = EventHandler(handler.level)
    adopted.filters[:] = handler.filters
    formatter = handler.formatter
    if formatter is not None and formatter._fmt != logging.BASIC_FORMAT:  # noqa: SLF001
        adopted.setFormatter(formatter)
    return adopted


def capture_exceptions() -> None:
    """Make events of exceptions that no code handles, in threads and in finalizers."""
    threading.excepthook = _thread_failed
    sys.unraisablehook = _not_raised


def capture_last_exception() -> None:
    """Make an event of an exception that ends this process."""
    sys.excepthook = _not_caught


def capture_warnings() -> None:
    """Make events of warnings."""
    warnings.showwarning = _warned


def _warned(  # noqa: PLR0913, PLR0917 - the signature is Python's
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    if file is not None:
        file.write(warnings.formatwarning(message, category, filename, lineno, line))
        return
    _warnings.warn(
        "{filename}:{lineno}: {category}: {warning}",
        warning=message,
        category=category.__name__,
        filename=filename,
        lineno=lineno,
    )


def _thread_failed(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is SystemExit:
        return
    _threads.failure(
        "uncaught exception in the thread {thread}",
        Failure(args.exc_value, args.exc_type, args.exc_traceback),
        LogLevel.critical,
        thread=args.thread and args.thread.name,
    )


def _not_raised(args: "sys.UnraisableHookArgs") -> None:
    # The object may be half finalized: its repr is asked for here, where it is alive.
    _unraisable.failure(
        "{what}: {object}",
        Failure(args.exc_value, args.exc_type, args.exc_traceback),
        LogLevel.error,
        what=args.err_msg or "exception ignored in",
        object=_shown(args.object),
        request=None,  # the one that is under way has nothing to do with it
    )


def _not_caught(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    _uncaught.failure(
        "uncaught exception: the process ends",
        Failure(error, kind, traceback),
        LogLevel.critical,
    )


def _shown(found: object) -> str:
    try:
        return repr(found)
    except Exception as error:  # noqa: BLE001 - it tells of another exception
        return f"<{type(found).__name__}: {type(error).__name__}>"
