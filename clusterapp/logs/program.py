"""The log of the master's program under twistd: escaped, rate-limited, for journald."""

import atexit
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from io import TextIOWrapper
from typing import Any, NamedTuple, TextIO

from twisted.logger import (
    FileLogObserver,
    ILogObserver,
    LegacyLogObserverWrapper,
    LogEvent,
    Logger,
    LogLevel,
    formatEvent,
    formatEventAsClassicLogText,
)
from twisted.python.components import Componentized
from twisted.python.failure import Failure
from twisted.python.logfile import LogFile
from zope.interface import implementer

from clusterapp.logs.event_request import FindRequest, request_of
from clusterapp.logs.log_writer import LogStream, LogWriter, may_block
from clusterapp.logs.repeat_filter import Later, RepeatFilter
from clusterapp.logs.streams import LineStream, text_stream
from clusterapp.printable import printable, printable_name
from clusterapp.tracebacks import format_failure
from clusterapp.wording import counted

#: Priorities of lines for journald (sd-daemon(3), syslog(3)).
_PRIORITIES = {
    LogLevel.critical: 2,
    LogLevel.error: 3,
    LogLevel.warn: 4,
    LogLevel.info: 6,
    LogLevel.debug: 7,
}

#: The seconds that an exiting program waits for a reader of its log that stands still.
_LAST_WORDS_SECONDS = 1.0


@implementer(ILogObserver)
class ProgramLog:
    """
    Writes the log of a program that twistd runs, to the output that twistd would use.

    Repeated events are counted, and control characters are escaped. If stdout is the
    journal, each line is prefixed with its priority (sd-daemon(3)).

    :param observer: the observer that writes: one of `line_observer`, or a legacy one.
    :param later: schedules a call after some seconds; any thread may call it.
    :param find_request: returns the request that the calling code works for.
    :param finish: writes what the observer has kept; called when the program exits.
    :ivar upgrading: whether this program is a new master before the end of its upgrade.
        Its events are tagged: the old master, which still serves, writes to the same
        output.
    """

    def __init__(
        self,
        observer: Any,
        later: Later,
        find_request: FindRequest,
        finish: Callable[[], None] = lambda: None,
    ) -> None:
        self._finish = finish
        self._find_request = find_request
        self.upgrading = False
        if not ILogObserver.providedBy(observer):
            wrapped = LegacyLogObserverWrapper(observer)

            def observer(event: LogEvent) -> None:
                wrapped(_for_syslog(event))

        self._observer = observer
        self._repeats = RepeatFilter(self._write, later)

    def __call__(self, event: LogEvent) -> None:
        """Write an event, or count it."""
        self._repeats(event)

    def _write(self, event: LogEvent) -> None:
        if event.get("log_format") is not None:
            if "request" not in event:
                request = request_of(event, self._find_request)
                if request is not None:
                    # As for the events of workers; this event is of a core in the
                    # master.
                    event = _before("{request}: ", {**event, "request": request})
            if self.upgrading:
                event = _before("[upgrade] ", event)
        self._observer(_with_printable_names(event))

    def flush(self) -> None:
        """Log the counts of suppressed events, and write what is kept, at exit."""
        self._repeats.flush()
        self._finish()


def line_observer(
    stream: Any, environ: Mapping[str, str] = os.environ
) -> FileLogObserver:
    """
    Return an observer that writes events to a stream, as `line_of` formats them.

    :param stream: a text stream, or a `twisted.python.logfile.LogFile`.
    :param environ: the environment of the program.
    """
    journal = stream is sys.stdout and is_journal(1, environ)
    if isinstance(stream, TextIOWrapper):
        # Characters that its encoding lacks are escaped; otherwise the line would be
        # lost.
        stream.reconfigure(errors="backslashreplace")
    return FileLogObserver(stream, partial(line_of, journal=journal))


class LogOutput(NamedTuple):
    """
    Where the log is written.

    :param observer: the observer that writes.
    :param finish: writes what the observer has kept; called when the program exits.
    """

    observer: Any
    finish: Callable[[], None] = lambda: None


def stdout_output(stream: Any, environ: Mapping[str, str] = os.environ) -> LogOutput:
    """
    Return an output to stdout whose observer never waits for a reader.

    A regular file is written to directly: no reader can stand still.

    :param stream: stdout, before it is replaced.
    :param environ: the environment of the program.
    """
    if not isinstance(stream, TextIOWrapper) or not may_block(stream.fileno()):
        return LogOutput(line_observer(stream, environ))
    stream.flush()  # it has been printed before
    descriptor, charset = stream.fileno(), stream.encoding
    journal = is_journal(descriptor, environ)

    def notice(lost: int) -> bytes:
        line = line_of(_lost_event(lost), journal=journal) or ""
        return line.encode(charset, "backslashreplace")

    writer = LogWriter(descriptor, notice)
    writer.start()
    finish = partial(writer.close, _LAST_WORDS_SECONDS)
    # A failed start does not come to the end of the reactor's run.
    atexit.register(finish)
    lines: Any = LogStream(writer, charset)
    return LogOutput(FileLogObserver(lines, partial(line_of, journal=journal)), finish)


def _lost_event(lost: int) -> LogEvent:
    return {
        "log_format": "{lines} of the log lost: more came than its reader took",
        "lines": counted(lost, "line"),
        "log_level": LogLevel.warn,
        "log_namespace": __name__,
        "log_time": time.time(),
    }


def _with_printable_names(event: LogEvent) -> LogEvent:
    """Return an event whose line names its logger, or system, unambiguously."""
    names = {
        key: printable_name(str(event[key]))
        for key in ("log_namespace", "log_system")
        if event.get(key) is not None
    }
    return {**event, **names}


def _before(prefix: str, event: LogEvent) -> LogEvent:
    """Return an event with a prefix, a format, before its own format."""
    # Other observers have flattened the event with its previous format.
    kept = {name: value for name, value in event.items() if name != "log_flattened"}
    return {**kept, "log_format": f"{prefix}{event['log_format']}"}


def line_of(event: LogEvent, *, journal: bool) -> str | None:
    """
    Return the line, or the lines, of an event; None if it has no text.

    A continuation line begins with a tab, so that one event cannot look like two.

    :param journal: whether each line begins with its priority.
    """
    failure = event.get("log_failure")
    if isinstance(failure, Failure):
        event = _with_traceback(event, failure)
    text = formatEventAsClassicLogText(event)
    if text is None:
        return None
    text = printable(text).rstrip() + "\n"  # a traceback has its own newline
    if not journal:
        return text
    prefix = f"<{_PRIORITIES.get(event.get('log_level'), 6)}>"
    return "".join(f"{prefix}{line}\n" for line in text.splitlines())


def _with_traceback(event: LogEvent, failure: Failure) -> LogEvent:
    """Return an event whose text includes the traceback, as Python prints it."""
    return _with_text(event, f"{formatEvent(event)}\n{format_failure(failure)}")


def _with_text(event: LogEvent, text: str) -> LogEvent:
    """Return an event with another text, and without a failure."""
    left_out = {"log_failure", "log_flattened"}
    kept = {name: value for name, value in event.items() if name not in left_out}
    return {**kept, "log_format": "{log_text}", "log_text": text}


def _for_syslog(event: LogEvent) -> LogEvent:
    """Return an event for a legacy observer, escaped, with the whole traceback."""
    failure = event.get("log_failure")
    if not isinstance(failure, Failure):
        text = printable(formatEvent(event))
        return _with_text(event, text) if text else event
    event = _with_traceback(event, failure)
    return {**_with_text(event, printable(event["log_text"])), "isError": 1}


def is_journal(descriptor: int, environ: Mapping[str, str]) -> bool:
    """Return whether a descriptor is the journal's (systemd.exec(5))."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def log_with_twistd(
    application: object,
    twistd: Mapping[str, Any],
    later: Later,
    find_request: FindRequest,
) -> ProgramLog | None:
    """
    Make twistd log with a `ProgramLog`, unless a logger was chosen (``--logger``).

    :param application: the application that twistd runs, before its logger has started.
    :param twistd: twistd's options; empty in another program.
    :param later: schedules a call after some seconds; any thread may call it.
    :param find_request: returns the request that the calling code works for.
    :return: the `ProgramLog`; None if another observer writes the log.
    """
    if (
        not isinstance(application, Componentized)
        or "nodaemon" not in twistd
        or twistd.get("logger")
    ):
        return None
    output = _twistd_output(twistd, later)
    log = ProgramLog(output.observer, later, find_request, output.finish)
    application.setComponent(ILogObserver, log)
    return log


def _twistd_output(twistd: Mapping[str, Any], later: Later) -> LogOutput:
    """
    Return the output that twistd chooses by its options.

    twistd's own is private. As there, a log file that Twisted rotates is rotated at
    SIGUSR1, too, unless the program handles that signal.
    """
    if twistd.get("syslog"):
        from twisted.python.syslog import SyslogObserver  # noqa: PLC0415 - it opens it

        return LogOutput(SyslogObserver(twistd.get("prefix", "")).emit)
    name = twistd.get("logfile")
    if name == "-" and not twistd["nodaemon"]:
        sys.exit("Daemons cannot log to stdout, exiting!")
    if name == "-" or (twistd["nodaemon"] and not name):
        return stdout_output(sys.stdout)
    file = LogFile.fromFullPath(name or "twistd.log")
    if not signal.getsignal(signal.SIGUSR1):  # SIG_DFL
        signal.signal(signal.SIGUSR1, lambda *_: later(0, file.rotate))
    return LogOutput(line_observer(file))


def capture_streams() -> None:
    """
    Log the printed output of this program, with twistd's own names and levels.

    Unlike twistd's streams, these keep the level of records that `logging` writes to
    them.
    """
    sys.stdout = _stream(1, "stdout", LogLevel.info)
    sys.stderr = _stream(2, "stderr", LogLevel.error)


def _stream(descriptor: int, name: str, level: LogLevel) -> TextIO:
    emit = partial(_log_line, Logger(name), level)
    return text_stream(LineStream(descriptor, emit))


def _log_line(log: Logger, level: LogLevel, line: str) -> None:
    log.emit(level, "{log_io}", log_io=line)
