"""Which request a log event is about."""

from collections.abc import Callable

from twisted.logger import LogEvent, LogLevel

from clusterapp.channel.log_events import RequestFacts

#: Returns the request that the calling code works for; None if it is not known.
FindRequest = Callable[[], RequestFacts | None]

#: Events of lower levels are many, and looking for a request takes some microseconds.
_SEVERE = frozenset((LogLevel.warn, LogLevel.error, LogLevel.critical))


def request_of(event: LogEvent, find_request: FindRequest) -> RequestFacts | None:
    """
    Return the request that an event is about.

    That is what its ``request`` is, or the one that the code that logs it works for.

    :param find_request: returns the latter.
    """
    if "request" in event:
        request = event["request"]
        facts = getattr(request, "facts", request)
        return facts if isinstance(facts, RequestFacts) else None
    return find_request() if event.get("log_level") in _SEVERE else None
