"""
How a master asks a child what it is doing while the child's event loop may stand.

The child's stdin stays open behind its bootstrap. A thread of the child reads it
and answers on stderr, in lines; the end of it is the notice of the master's death.
"""

from collections.abc import Callable, Iterable, Iterator

#: Method, target, the client if known, and for how many seconds it has been served.
UnderWay = tuple[bytes, bytes, str | None, float]

#: Bytes of a target that are told. A line this long is written in one piece (pipe(7)).
_LONGEST_TARGET = 500

#: Requests that are told; those that have waited longest come first.
_MOST_REQUESTS = 100

#: What the master writes to ask once.
ASK = b"?"

#: The last line of an answer.
END = "end of the inspection"


def requests_told(under_way: Callable[[], Iterable[UnderWay]]) -> Iterator[str]:
    """
    Tell the requests under way, a line for each.

    :param under_way: gives them; it may be called in a thread of its own.
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
    """Write out what a client sent; what is not printable is escaped."""
    return sent[:_LONGEST_TARGET].decode("latin-1").encode("unicode_escape").decode()
