"""Which request a piece of code works for: found on the stack, when it is asked."""

import sys

from clusterapp.channel.log_events import RequestFacts
from clusterapp.http.application.routable import Routable

#: Frames that are looked at, from the innermost.
_MOST_FRAMES = 100

#: The local variables that hold requests, in the engine and in handlers.
_NAMES = ("request", "self")

#: Twisted's WSGI server and ours on it, whose objects hold the request.
_WSGI = frozenset({"twisted.web.wsgi", "clusterapp.web.wsgi.wsgi_response"})


def request_under_way() -> RequestFacts | None:
    """
    Describe the request that the calling code works for.

    It is looked for among the local variables of the callers: the engine's own, and
    those of handlers, coroutines as well. So nothing is noted for each request, only
    for what is logged, which is rare. None if there is none, as in other threads, and
    in finalizers, which run within whatever code is running; and for requests to a
    site that has none named.
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
