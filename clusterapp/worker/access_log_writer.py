"""The access log of a worker."""

import os
import time
from functools import partial
from typing import Any

from clusterapp.channel.bootstrap import Bootstrap
from clusterapp.http.access_log.access_formats import (
    LineFormat,
    WorkerIdentity,
    combined_lines,
    json_lines,
)
from clusterapp.http.access_log.access_record import AccessRecord
from clusterapp.logs.appending import Appender
from clusterapp.logs.log_output import LineOutput, open_again, open_path
from clusterapp.settings.model import Settings


class AccessLog:
    """
    The writer of access log lines; an `access_record.Recorder`.

    :param appender: appends lines to the log file.
    :param line: formats the line of one response.
    """

    def __init__(self, appender: Appender, line: LineFormat) -> None:
        self._add = appender.add
        self._line = line
        #: Reopens the log file, after it has been renamed.
        self.reopen = appender.reopen

    def record(self, answered: AccessRecord) -> None:
        """Log one response; lines are written in batches, a moment later."""
        self._add(self._line(answered, time.time()))


def open_access_log(
    reactor: Any, bootstrap: Bootstrap, settings: Settings
) -> AccessLog | None:
    """
    Open the worker's access log, which is flushed and closed when the reactor stops.

    :param reactor: the worker's reactor.
    :param bootstrap: has the path or descriptor of the log.
    :param settings: have the format of its lines.
    :return: None if no access log is configured.
    :raise OSError: the file cannot be opened.
    """
    where = bootstrap.access_log
    if where is None:
        return None
    if isinstance(where, int):
        os.set_inheritable(where, False)  # the application's children do not need it
    appender = Appender(reactor, str(settings.access_log), partial(_open, where))
    # After shutdown: connections that are aborted at the very end have lines, too.
    reactor.addSystemEventTrigger("after", "shutdown", appender.close)
    if settings.access_log_format == "json":
        return AccessLog(appender, _json_lines(bootstrap, appender.longest_line))
    return AccessLog(appender, combined_lines(appender.longest_line))


def _open(where: str | int) -> LineOutput:
    return LineOutput(open_path(where) if isinstance(where, str) else open_again(where))


def _json_lines(bootstrap: Bootstrap, most: int) -> LineFormat:
    return json_lines(
        WorkerIdentity(bootstrap.slot, bootstrap.generation, os.getpid()), most
    )
