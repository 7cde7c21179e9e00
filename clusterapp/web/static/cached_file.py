"""The cache entry of a static file: its prepared responses and its identity."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from clusterapp.http.server.prepared_response import Prepared
from clusterapp.web.static import conditional_requests as conditions
from clusterapp.web.static.representations import RANGE, Representation
from clusterapp.web.static.safe_open import Identity

#: The bytes counted for a file besides its content: its serialized header fields, and
#: the objects of the entry.
_COST_OF_ONE: Final = 4096

ACCEPT_ENCODING: Final = b"accept-encoding"

#: The request fields that can lead to another response than the plain one.
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

#: The identity of a file, then of its siblings in other content codings. None means
#: that there is no such file; without the file itself, no siblings follow.
Seen = Sequence[Identity | None]


class CacheKey(NamedTuple):
    """
    The key of a cache entry.

    :ivar below: the file's path below the folder.
    :ivar cache_control: the value of Cache-Control.
    """

    below: bytes
    cache_control: bytes


class CachedFile:
    """
    A cache entry: a file with its prepared responses.

    :param key: the key of the entry.
    :param seen: the identities of the file and its siblings.
    :param plain: the response to a request without fields that matter.
    :param choices: the file in each available content coding, by the coding's name,
        which is empty for none; if there are none, `plain` is the only response.
    :param fingerprint: the fingerprint of the content, None if not needed.
    """

    __slots__ = (
        "choices",
        "cost",
        "descriptors",
        "fingerprint",
        "fresh_until",
        "key",
        "paths",
        "plain",
        "seen",
        "varying",
        "verified",
    )

    def __init__(
        self,
        key: CacheKey,
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
        #: The names, in lower case, of the request fields that can lead to another
        #: response.
        self.varying = _varying(choices)
        self.fingerprint = fingerprint
        in_memory = [each.size for each in choices.values() if each.digest is not None]
        #: The bytes that the entry takes at most: content is counted twice, since the
        #: serialized response is kept as well (see `Prepared.whole`).
        self.cost = _COST_OF_ONE + len(key.below) + 2 * sum(in_memory)
        #: The number of file descriptors that the entry keeps open.
        self.descriptors = len(choices) - len(in_memory)
        #: The time until which the entry is used without a look at the disk.
        self.fresh_until = 0.0
        #: Whether the file was read again a second later; see `file_cache`.
        self.verified = False
        #: The request paths of this file, as clients have sent them.
        self.paths: set[bytes] = set()


def _varying(choices: Mapping[bytes, Representation]) -> frozenset[bytes]:
    if len(choices) > 1:
        return _VARIED_MATTERS
    return _MATTERS if choices else frozenset()


class EntrySource(Protocol):
    """A source of cache entries."""

    def look(self, below: bytes) -> Seen:
        """
        Return the current identities of a file and its siblings.

        :param below: the file's path below the folder.
        :raises OSError: the system call failed.
        """

    def make(self, key: CacheKey, seen: Seen) -> CachedFile | None:
        """
        Open a file and prepare its responses; return None if there is no file to serve.

        :param key: the key of the entry.
        :param seen: what `look` has just returned.
        :raises PermissionError: the file may not be read.
        :raises OSError: the system call failed.
        """
