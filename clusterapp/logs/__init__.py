"""What a child process writes, for its master to log."""

import sys
from io import TextIOWrapper
from typing import TextIO

from twisted.logger import (
    FileLogObserver,
    FilteringLogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    eventAsText,
    globalLogBeginner,
)


def begin_child_log(out: TextIO) -> None:
    """
    Write this process's log events to a stream, from now on.

    They carry no time: the master's log adds it, with slot and generation.

    :param out: the stream, as a rule stdout.
    """
    wanted = LogLevelFilterPredicate(LogLevel.info)
    # A line for every listening port that starts says nothing to an operator.
    wanted.setLogLevelForNamespace("twisted.internet", LogLevel.warn)
    observer = FilteringLogObserver(FileLogObserver(out, _line), [wanted])
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
    # What the application prints comes out line by line, not when a buffer is full,
    # and in the encoding that the master reads, whatever the locale says.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(
                encoding="utf-8", errors="backslashreplace", line_buffering=True
            )


def _line(event: LogEvent) -> str | None:
    text = eventAsText(event, includeTimestamp=False, includeSystem=False)
    text = text.rstrip("\n")  # a traceback has an end of its own
    if not text:
        return None
    level = event.get("log_level", LogLevel.info)
    prefix = "" if level == LogLevel.info else f"{level.name}: "
    return f"{prefix}{text}\n"
