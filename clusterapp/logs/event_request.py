"""The request that a log event belongs to."""

from collections.abc import Callable

from twisted.logger import LogEvent, LogLevel

from clusterapp.channel.log_pipe.log_events import RequestFacts

#: Returns the request that the calling code works for; None if there is none.
FindRequest = Callable[[], RequestFacts | None]

#: Events of lower levels are frequent, and finding the request takes some microseconds.
_SEVERE = frozenset((LogLevel.warn, LogLevel.error, LogLevel.critical))


def request_of(event: LogEvent, find_request: FindRequest) -> RequestFacts | None:
    """
    Return the request that an event belongs to.

    It is the event's ``request``, or the one that the logging code works for.

    :param find_request: returns the latter.
    """
    if "request" in event:
        request = event["request"]
        facts = getattr(request, "facts", request)
        return facts if isinstance(facts, RequestFacts) else None
    return find_request() if event.get("log_level") in _SEVERE else None
