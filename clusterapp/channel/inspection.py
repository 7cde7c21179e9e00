"""
The inspection of a child whose event loop may be blocked.

The child's stdin stays open after its bootstrap. A thread of the child reads it and
writes the answers to stderr, line by line; end of file means that the master has died.
"""

from collections.abc import Callable, Iterable, Iterator

#: Method, target, the client if known, and the seconds since the request began.
UnderWay = tuple[bytes, bytes, str | None, float]

#: The most bytes of a target that are written. A line this long is written atomically
#: (pipe(7)).
_LONGEST_TARGET = 500

#: The most requests that are listed; those that have waited longest come first.
_MOST_REQUESTS = 100

#: The byte that the master writes to request one inspection.
ASK = b"?"

#: The last line of an answer.
END = "end of the inspection"


def describe_requests(under_way: Callable[[], Iterable[UnderWay]]) -> Iterator[str]:
    """
    Return the requests under way, a line for each.

    :param under_way: returns them; it may be called in a thread of its own.
    """
    try:
        found = sorted(under_way(), key=lambda each: each[3], reverse=True)
    except Exception as error:  # noqa: BLE001 - without this thread orphans may stay
        yield f"the requests under way cannot be told: {error!r}"
        return
    yield f"requests under way: {len(found)}"
    for method, target, client, seconds in found[:_MOST_REQUESTS]:
        yield (
            f"  {_text(method)} {_text(target.partition(b'?')[0])}"
            f" from {client or 'unknown'} for {seconds:.1f} s"
        )
    if len(found) > _MOST_REQUESTS:
        yield f"  and {len(found) - _MOST_REQUESTS} more"


def _text(sent: bytes) -> str:
    """Return received bytes as text; unprintable characters are escaped."""
    return sent[:_LONGEST_TARGET].decode("latin-1").encode("unicode_escape").decode()
