"""The request that a piece of code works for, found on the call stack."""

import sys

from clusterapp.channel.log_pipe.log_events import RequestFacts
from clusterapp.http.application.routable import Routable

#: The most frames that are searched, from the innermost.
_MOST_FRAMES = 100

#: The local variables that hold requests, in the engine and in handlers.
_NAMES = ("request", "self")

#: Twisted's WSGI server and our extension of it, whose objects hold the request.
_WSGI = frozenset({"twisted.web.wsgi", "clusterapp.web.wsgi.wsgi_response"})


def request_under_way() -> RequestFacts | None:
    """
    Return the facts of the request that the calling code works for.

    The local variables of the callers are searched: the engine's own, and those of
    handlers, coroutines as well. So nothing is stored per request; the search runs only
    for log events, which are rare. None if there is no request, as in other threads,
    and in finalizers, which run within arbitrary code; and for requests of a site that
    does not name requests.
    """
    frame = sys._getframe(1)  # noqa: SLF001 - there is no public name for it
    for _ in range(_MOST_FRAMES):
        if frame.f_code.co_name == "__del__":
            break
        variables = frame.f_locals
        for name in _NAMES:
            found = variables.get(name)
            if isinstance(found, Routable):
                return found.event_facts
        if frame.f_globals.get("__name__") in _WSGI:
            found = getattr(variables.get("self"), "request", None)
            if isinstance(found, Routable):
                return found.event_facts
        if frame.f_back is None:
            break
        frame = frame.f_back
    return None
