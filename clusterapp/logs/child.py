"""The log of a child process: its events are sent to the master."""

import os
import select
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from io import TextIOWrapper

from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    eventAsText,
    globalLogBeginner,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from clusterapp.channel.log_pipe.log_events import LOG_FD, ChildEvent
from clusterapp.future_note import add_future_note
from clusterapp.logs.captured_logs import (
    capture_exceptions,
    capture_last_exception,
    capture_logging,
    capture_warnings,
)
from clusterapp.logs.event_pipe import EventPipe
from clusterapp.logs.event_request import FindRequest, request_of
from clusterapp.logs.repeat_filter import Later, RepeatFilter
from clusterapp.logs.streams import LineStream, text_stream
from clusterapp.tracebacks import format_failure
from clusterapp.wording import counted

#: The seconds for which an exiting process waits for a master that does not read.
_LAST_WORDS_SECONDS = 1.0


@implementer(ILogObserver)
class EventSender:
    """
    A log observer that sends events to the master.

    :param pipe: the pipe that carries them.
    :param find_request: returns the request that the calling code works for.
    """

    def __init__(self, pipe: EventPipe, find_request: FindRequest) -> None:
        self._pipe = pipe
        self._find_request = find_request

    def __call__(self, event: LogEvent) -> None:
        """Send an event."""
        if not self._pipe.has_room:
            self._pipe.lose()  # before its traceback is formatted
            return
        child_event = child_event_of(event, self._find_request)
        if child_event is not None:
            self._pipe.send(child_event.to_bytes())

    def print_line(self, line: str, *, namespace: str, level: LogLevel) -> None:
        """Send a printed line."""
        if not self._pipe.has_room:
            self._pipe.lose()
            return
        self._pipe.send(
            ChildEvent(
                time=time.time(),
                level=level.name,
                namespace=namespace,
                text=line,
                pid=os.getpid(),
            ).to_bytes()
        )


class ChildLog:
    """
    The log events and the printed output of this process, until it exits.

    :param pipe: the pipe to the master.
    :param later: schedules a call after some seconds.
    :param find_request: returns the request that the calling code works for.
    """

    def __init__(
        self, pipe: EventPipe, later: Later, find_request: FindRequest
    ) -> None:
        self._pipe = pipe
        self._sender = EventSender(pipe, find_request)
        self._repeats = RepeatFilter(self._sender, later)
        wanted = LogLevelFilterPredicate(LogLevel.info)
        # A line for every port that starts listening is of no use to an operator.
        wanted.setLogLevelForNamespace("twisted.internet", LogLevel.warn)
        #: The observer of all events.
        self.observer = FilteringLogObserver(self._repeats, [wanted])
        self._lines = [
            LineStream(1, self._printer("stdout", LogLevel.info)),
            LineStream(2, self._printer("stderr", LogLevel.warn)),
        ]
        self._streams = [text_stream(each) for each in self._lines]

    def begin(self) -> None:
        """Start to capture the log events and the printed output of this process."""
        globalLogBeginner.beginLoggingTo([self.observer], redirectStandardIO=False)
        # C code and child processes write to the descriptors, in the encoding that the
        # master decodes, whatever the locale.
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):
                stream.reconfigure(
                    encoding="utf-8", errors="backslashreplace", line_buffering=True
                )
        sys.stdout, sys.stderr = self._streams
        capture_logging()
        capture_warnings()
        capture_exceptions()
        capture_last_exception()

    def close(self) -> None:
        """Send everything that is still buffered: the process exits."""
        self._repeats.flush()
        for stream, lines in zip(self._streams, self._lines, strict=True):
            if not stream.closed:  # by the application
                stream.flush()
            lines.end_line()
        lost = self._pipe.close(_LAST_WORDS_SECONDS)
        if lost:
            _write_at_once(2, _notice_text(lost))

    def _printer(self, namespace: str, level: LogLevel) -> Callable[[str], None]:
        return partial(self._sender.print_line, namespace=namespace, level=level)


def begin_child_log(later: Later, find_request: FindRequest) -> ChildLog:
    """
    Send the log and the printed output of this process to the master from now on.

    :param later: schedules a call after some seconds; any thread may call it.
    :param find_request: returns the request that the calling code works for.
    """
    pipe = EventPipe(LOG_FD, _lost_notice)
    pipe.start()
    log = ChildLog(pipe, later, find_request)
    log.begin()
    return log


def child_event_of(event: LogEvent, find_request: FindRequest) -> ChildEvent | None:
    """
    Convert an event for the master; return None if it has no text.

    :param find_request: returns the request that the calling code works for.
    """
    text = eventAsText(
        event, includeTraceback=False, includeTimestamp=False, includeSystem=False
    )
    failure = event.get("log_failure")
    traceback = ""
    if isinstance(failure, Failure):
        add_future_note(failure.value)
        traceback = format_failure(failure)
    traceback = traceback.rstrip("\n")
    if not text and not traceback:
        return None
    level = event.get("log_level", LogLevel.info)
    return ChildEvent(
        time=event.get("log_time") or time.time(),
        level=level.name,
        namespace=str(event.get("log_namespace", "")),
        text=text.rstrip("\n") or traceback.rpartition("\n")[2],
        traceback=traceback,
        request=request_of(event, find_request),
        pid=os.getpid(),
    )


def _lost_notice(lost: int) -> bytes:
    return ChildEvent(
        time=time.time(),
        level=LogLevel.warn.name,
        namespace=__name__,
        text=_notice_text(lost),
        pid=os.getpid(),
    ).to_bytes()


def _notice_text(lost: int) -> str:
    lines = counted(lost, "line")
    return f"{lines} of the log lost: more came than the master could take"


def _write_at_once(descriptor: int, line: str) -> None:
    """Write a short line to a pipe, unless that would block."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    if poll.poll(0):
        with suppress(OSError):  # no reader
            os.write(descriptor, f"{line}\n".encode())
