"""The log of one child process, as a part of the master's."""

import time

from twisted.logger import LogEvent, LogLevel, globalLogPublisher

from clusterapp.channel.log_pipe.log_events import ChildEvent
from clusterapp.printable import printable, printable_name
from clusterapp.private_names.check import NAMESPACE, is_first

_FORMAT = "[{label} generation {generation}] {line}"
_LEVELS = {level.name: level for level in LogLevel.iterconstants()}


class ChildLogWriter:
    """
    Writes what a child logs and prints to the master's log.

    Control characters are escaped, except newlines in the text of an event, which
    observers indent.

    :param label: the name of the child: ``worker 0`` or ``core``.
    :param slot: its slot number.
    :param generation: the generation that it runs.
    """

    def __init__(self, label: str, slot: int, generation: int) -> None:
        self._label = label
        self._slot = slot
        self._generation = generation

    def printed(self, line: str, *, error: bool) -> None:
        """Log a line that the child has written to stdout or stderr."""
        self._publish(
            log_level=LogLevel.warn if error else LogLevel.info,
            log_namespace="stderr" if error else "stdout",
            log_time=time.time(),
            line=printable(line),
        )

    def logged(self, event: ChildEvent) -> None:
        """Log an event of the child, with its own level, namespace and time."""
        if event.namespace == NAMESPACE and not is_first(event.text):
            return  # every process of the cluster finds the same libraries
        request = "" if event.request is None else str(event.request)
        text = event.text
        if request and request not in text:
            text = f"{request}: {text}"
        if event.traceback:
            text = f"{text}\n{event.traceback}"
        self._publish(
            log_level=_LEVELS.get(event.level, LogLevel.info),
            log_namespace=printable_name(event.namespace),
            log_time=event.time,
            line=printable(text),
            pid=event.pid,
            request=event.request,
            traceback=printable(event.traceback),
        )

    def _publish(self, **event: object) -> None:
        published: LogEvent = {
            "log_format": _FORMAT,
            "label": self._label,
            "slot": self._slot,
            "generation": self._generation,
            # The child has already limited repeated events.
            "from_child": True,
            **event,
        }
        globalLogPublisher(published)
