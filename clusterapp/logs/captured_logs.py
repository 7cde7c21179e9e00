"""Conversion of output that bypasses `twisted.logger` into its events."""

import logging
import sys
import threading
import warnings
from types import FrameType, TracebackType
from typing import Any, NamedTuple, TextIO

from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from clusterapp.private_names.cpython import EMIT, FORMAT_OF

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


#: The code that writes a record of `logging` to a stream; None if its variables are
#: unknown.
_EMIT = EMIT.value

_format_of = FORMAT_OF.value or (lambda _formatter: None)


class EventHandler(logging.Handler):
    """
    A handler of `logging` that converts records into events.

    The namespace is the logger's name, and a traceback is the event's failure.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Log a record; called by `logging`."""
        try:
            _log_record(record, _message(record), _failure_of(record))
        except Exception:  # noqa: BLE001 - as every handler of `logging` does
            self.handleError(record)


class WrittenRecord(NamedTuple):
    """
    A record of `logging` that a stream handler is writing to a stream.

    :param record: the record.
    :param handler: the stream handler.
    :param text: the text that it writes, with the line end.
    """

    record: logging.LogRecord
    handler: "logging.StreamHandler[Any]"
    text: str

    def log(self) -> None:
        """
        Log the record as an event, with its level and the name of its logger.

        The text is the output of the application's formatter. The format of
        `logging.basicConfig` only repeats level and name: as without a formatter, the
        text is the message then, and the traceback is the event's failure.
        """
        if self._is_formatted:
            _log_record(self.record, self.text.rstrip("\n"), None)
        else:
            _log_record(self.record, _message(self.record), _failure_of(self.record))

    @property
    def _is_formatted(self) -> bool:
        formatter = self.handler.formatter
        default = formatter is None or _format_of(formatter) == logging.BASIC_FORMAT
        return not default or type(self.handler).format is not logging.Handler.format


def written_record(caller: FrameType) -> WrittenRecord | None:
    """
    Return the record that a stream handler of `logging` is writing, if there is one.

    A stream receives text only, line by line, without level and logger. Handlers are
    created at any time, as by the first call of `logging.error`; so each write is
    checked.

    :param caller: the frame that has called the ``write`` of a stream.
    """
    if caller.f_code is not _EMIT:
        return None
    variables = caller.f_locals
    handler = variables["self"]
    text = f"{variables['msg']}{handler.terminator}"
    return WrittenRecord(variables["record"], handler, text)


def _log_record(record: logging.LogRecord, text: str, failure: Failure | None) -> None:
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
    """Return the level of `twisted.logger` for a level number of `logging`."""
    for least, level in _LEVELS:
        if number >= least:
            return level
    lowest: LogLevel = LogLevel.debug
    return lowest


def capture_logging() -> None:
    """
    Log the records of `logging` for which no handler is configured as events.

    The root logger keeps its level (WARNING) and has no handler, so that
    `logging.basicConfig` does what the application expects.
    """
    # Its level is that of `logging.lastResort`: the root logger's level decides.
    logging.lastResort = EventHandler()


def capture_exceptions() -> None:
    """Log uncaught exceptions in threads and in finalizers as events."""
    threading.excepthook = _thread_failed
    sys.unraisablehook = _not_raised


def capture_last_exception() -> None:
    """Log an exception that ends this process as an event."""
    sys.excepthook = _not_caught


def capture_warnings() -> None:
    """Log warnings as events."""
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
    # The object may be half finalized: its repr is made here, while it is alive.
    _unraisable.failure(
        "{what}: {object}",
        Failure(args.exc_value, args.exc_type, args.exc_traceback),
        LogLevel.error,
        what=args.err_msg or "exception ignored in",
        object=_shown(args.object),
        request=None,  # the request under way is unrelated
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
