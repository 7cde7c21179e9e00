"""Log events of a child process, as its master receives them."""

import json
from dataclasses import dataclass
from typing import Any

from clusterapp.printable import shortened
from clusterapp.tracebacks import LONGEST_TRACEBACK

#: The number of the child's end of the pipe of log events, in every child.
LOG_FD = 4

#: The longest text of an event, and each of its other values but the traceback, in
#: characters. JSON takes at most twelve bytes for each.
LONGEST_TEXT, _LONGEST_VALUE = 16_384, 2_048

#: Later times are not accepted: no calendar has them. The year 9999 ends here.
_END_OF_TIME = 253_402_214_400.0

_encode = json.JSONEncoder(check_circular=False).encode


@dataclass(frozen=True, kw_only=True)
class RequestFacts:
    """
    The request that a log event is about.

    :param method: its method.
    :param path: its target without the query, which may hold secrets.
    :param route: the rule that it was dispatched by; None if there is none.
    :param client: the client's IP address, if it is known.
    :param request_id: ``X-Request-ID`` as it was received, if it is acceptable.
    """

    method: str
    path: str
    route: str | None = None
    client: str | None = None
    request_id: str | None = None

    def __str__(self) -> str:
        details = (("route", self.route), ("client", self.client))
        shown = [f"{name} {value}" for name, value in details if value]
        if self.request_id:
            shown.append(f"request id {self.request_id}")
        more = f" ({', '.join(shown)})" if shown else ""
        return f"{self.method} {self.path}{more}"


@dataclass(frozen=True, kw_only=True)
class ChildEvent:
    """
    A log event of a child process.

    :param time: when it happened, in seconds since the epoch.
    :param level: the name of its level, as `twisted.logger.LogLevel` has them.
    :param namespace: what logged it: a logger's name, ``stdout`` or ``stderr``.
    :param text: the formatted message.
    :param traceback: the traceback of its exception, if any.
    :param request: the request that it is about, if any.
    :param pid: the process that logged it: the child, or one that the child has forked.
    """

    time: float
    level: str
    namespace: str
    text: str
    traceback: str = ""
    request: RequestFacts | None = None
    pid: int = 0

    def to_bytes(self) -> bytes:
        """Serialize the event as JSON; values that are too long are cut."""
        return _encode(
            {
                "time": self.time,
                "level": self.level,
                "namespace": shortened(self.namespace, _LONGEST_VALUE),
                "text": shortened(self.text, LONGEST_TEXT),
                "traceback": shortened(self.traceback, LONGEST_TRACEBACK),
                "request": None if self.request is None else _fields(self.request),
                "pid": self.pid,
            }
        ).encode("ascii")

    @classmethod
    def from_bytes(cls, message: bytes) -> "ChildEvent":
        """
        Parse an event.

        :raises ValueError: if it is malformed: code that runs in the child may have
            written it.
        """
        try:
            fields: dict[str, Any] = json.loads(message)
            request = fields["request"]
            time = float(fields["time"])
            if not 0 <= time < _END_OF_TIME:
                raise ValueError(f"no time: {time}")
            return cls(
                time=time,
                level=str(fields["level"]),
                namespace=str(fields["namespace"]),
                text=str(fields["text"]),
                traceback=str(fields["traceback"]),
                request=None if request is None else RequestFacts(**request),
                pid=int(fields["pid"]),
            )
        except (KeyError, TypeError, OverflowError, RecursionError) as error:
            raise ValueError(f"no log event: {error!r}") from error


def _fields(request: RequestFacts) -> dict[str, str | None]:
    return {
        name: None if value is None else shortened(value, _LONGEST_VALUE)
        for name, value in vars(request).items()
    }
