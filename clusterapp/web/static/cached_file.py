"""What is kept of a file between requests."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from clusterapp.http.server.prepared_response import Prepared
from clusterapp.web.static import conditional_requests as conditions
from clusterapp.web.static.representations import RANGE, Representation
from clusterapp.web.static.safe_open import Identity

#: What a file takes besides its content: its fields, ready to be sent, and the
#: objects around them.
_COST_OF_ONE: Final = 4096

ACCEPT_ENCODING: Final = b"accept-encoding"

#: The fields that ask for another answer than the plain one.
_MATTERS: Final = frozenset(
    {
        RANGE,
        conditions.IF_MATCH,
        conditions.IF_MODIFIED_SINCE,
        conditions.IF_NONE_MATCH,
        conditions.IF_RANGE,
        conditions.IF_UNMODIFIED_SINCE,
    }
)
_VARIED_MATTERS: Final = _MATTERS | {ACCEPT_ENCODING}

#: What a file was, and then its siblings in other encodings; None for none there,
#: and nothing more where the file itself is not there.
Seen = Sequence[Identity | None]


class Key(NamedTuple):
    """
    What a file is kept under.

    :ivar below: its path below the folder.
    :ivar cache_control: what is said of how long it may be kept.
    """

    below: bytes
    cache_control: bytes


class CachedFile:
    """
    A file with all that was prepared to answer for it.

    :param key: what it is kept under.
    :param seen: what it was.
    :param plain: the answer to a request that asks for nothing in particular.
    :param choices: the file in each encoding that is there, the name of none empty;
        without any, the plain answer is the only one.
    :param fingerprint: what its content is known by, if that was asked for.
    """

    __slots__ = (
        "choices",
        "cost",
        "descriptors",
        "fingerprint",
        "fresh_until",
        "key",
        "matters",
        "paths",
        "plain",
        "seen",
        "verified",
    )

    def __init__(
        self,
        key: Key,
        seen: Seen,
        *,
        plain: Prepared,
        choices: Mapping[bytes, Representation],
        fingerprint: str | None,
    ) -> None:
        self.key = key
        self.seen = seen
        self.plain = plain
        self.choices = choices
        #: The names of the fields that ask for another answer, in lower case.
        self.matters = _matters(choices)
        self.fingerprint = fingerprint
        in_memory = [each.size for each in choices.values() if each.digest is not None]
        #: The bytes that it takes, or comes to take: a content counts twice, since
        #: the whole answer is remembered as well (see `Prepared.whole`).
        self.cost = _COST_OF_ONE + len(key.below) + 2 * sum(in_memory)
        #: The files that it keeps open.
        self.descriptors = len(choices) - len(in_memory)
        #: Until when nobody needs to look at the disk.
        self.fresh_until = 0.0
        #: Whether it was read again a second later; see `file_cache`.
        self.verified = False
        #: The paths that lead here, as clients have written them.
        self.paths: set[bytes] = set()


def _matters(choices: Mapping[bytes, Representation]) -> frozenset[bytes]:
    if len(choices) > 1:
        return _VARIED_MATTERS
    return _MATTERS if choices else frozenset()


class Source(Protocol):
    """Where files come from."""

    def look(self, below: bytes) -> Seen:
        """
        See what a file is now, and what its siblings are.

        :param below: its path below the folder.
        :raises OSError: the system cannot tell.
        """

    def make(self, key: Key, seen: Seen) -> CachedFile | None:
        """
        Open a file and prepare its answers; None if there is none to be served.

        :param seen: what `look` has just said.
        :raises PermissionError: it may not be read.
        :raises OSError: the system cannot tell.
        """
