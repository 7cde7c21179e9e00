"""The representation of a file: its responses 200, 206, 304, 412 and 416."""

import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from twisted.web.http import datetimeToString

from clusterapp.http.server.prepared_response import FilePart, Prepared
from clusterapp.http.syntax.status_line import last_modified
from clusterapp.interfaces import Fields
from clusterapp.web.static.accept_encoding import SUFFIXES
from clusterapp.web.static.conditional_requests import (
    ConditionResult,
    allows_range,
    judge,
)
from clusterapp.web.static.fingerprints import digest
from clusterapp.web.static.range_requests import (
    Range,
    content_range,
    parse_ranges,
    part_heads,
)
from clusterapp.web.static.safe_open import Opened

#: The field that stops browsers from guessing another media type.
NO_SNIFFING: Final = (b"X-Content-Type-Options", b"nosniff")

RANGE: Final = b"range"

#: The seconds by which the Date of a response can lag behind the time.
_DATE_LAGS: Final = 5


def refusal(status: HTTPStatus, *fields: tuple[bytes, bytes]) -> Prepared:
    """Return a plain text response of a status, sent instead of a file."""
    text = f"{status.value} {status.phrase}\n".encode()
    kind = (b"Content-Type", b"text/plain; charset=utf-8")
    return Prepared(status, [kind, NO_SNIFFING, *fields], [text])


_FAILED: Final = refusal(HTTPStatus.PRECONDITION_FAILED)


class Representation:
    """
    One file in one content coding.

    :param opened: the file.
    :param in_memory: whether its content is kept; otherwise it is sent from the disk.
    :param coding: the name of its content coding; empty for none.
    :param kind: the media type of the decoded content.
    :param caching: the fields for caches, such as Cache-Control.
    """

    __slots__ = (
        "_content",
        "_etag",
        "_fields",
        "_future",
        "_kind",
        "_modified",
        "digest",
        "size",
        "unchanged",
        "whole",
    )

    def __init__(
        self,
        opened: Opened,
        *,
        in_memory: bool,
        coding: bytes,
        kind: bytes,
        caching: Fields,
    ) -> None:
        content = opened.content() if in_memory else None
        #: The digest of the content; None for a file that is not in memory.
        self.digest = None if content is None else digest(content)
        self._content = (
            FilePart(opened.file, 0, opened.size) if content is None else content
        )
        self.size = len(self._content)
        self._kind = kind
        self._etag = _etag(opened, self.digest, coding)
        self._modified = datetimeToString(opened.modified)
        #: The modification time if the Date of a response may be earlier, else None:
        #: Last-Modified is then written with each response.
        self._future = (
            opened.modified if opened.modified > time.time() - _DATE_LAGS else None
        )
        same = [(b"ETag", self._etag)]
        if self._future is None:
            same.append((b"Last-Modified", self._modified))
        same += caching
        encoding = [(b"Content-Encoding", coding)] if coding else []
        self._fields = [*same, NO_SNIFFING, (b"Accept-Ranges", b"bytes"), *encoding]
        #: The 200 response with the whole content.
        self.whole = self._prepare(HTTPStatus.OK, kind, self._content)
        #: The 304 response.
        self.unchanged = Prepared(HTTPStatus.NOT_MODIFIED, same, modified=self._future)

    def answer(
        self, method: bytes, asked: Mapping[bytes, bytes], boundary: bytes
    ) -> Prepared:
        """
        Return the response to a request.

        :param method: GET or HEAD.
        :param asked: the values of the request's fields, by their names in lower case.
        :param boundary: the boundary of multipart/byteranges.
        """
        modified = self._modified
        if self._future is not None:
            modified = last_modified(self._future, b"")  # as responses have it now
        verdict = judge(asked, self._etag, modified)
        if verdict is ConditionResult.FAILED:
            return _FAILED
        if verdict is ConditionResult.UNCHANGED:
            return self.unchanged
        # Range is ignored for methods other than GET (RFC 9110, section 14.2).
        if method != b"GET" or RANGE not in asked:
            return self.whole
        if not allows_range(asked, self._etag, modified):
            return self.whole
        return self._parts(asked[RANGE], boundary)

    def _parts(self, value: bytes, boundary: bytes) -> Prepared:
        ranges = parse_ranges(value, self.size)
        if ranges is None:
            return self.whole
        if not ranges:
            unsatisfied = (b"Content-Range", b"bytes */%d" % self.size)
            return refusal(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, unsatisfied)
        if len(ranges) > 1:
            return self._multipart(ranges, boundary)
        place = (b"Content-Range", content_range(ranges[0], self.size))
        piece = self._piece(ranges[0])
        return self._prepare(HTTPStatus.PARTIAL_CONTENT, self._kind, piece, place)

    def _multipart(self, ranges: list[Range], boundary: bytes) -> Prepared:
        *heads, end = part_heads(ranges, self.size, self._kind, boundary)
        body: list[bytes | FilePart] = []
        for head, each in zip(heads, ranges, strict=True):
            body += (head, self._piece(each))
        kind = b"multipart/byteranges; boundary=" + boundary
        fields = [(b"Content-Type", kind), *self._fields]
        return Prepared(
            HTTPStatus.PARTIAL_CONTENT, fields, [*body, end], modified=self._future
        )

    def _prepare(
        self,
        status: HTTPStatus,
        kind: bytes,
        body: bytes | FilePart,
        *more: tuple[bytes, bytes],
    ) -> Prepared:
        fields = [(b"Content-Type", kind), *self._fields, *more]
        return Prepared(status, fields, [body], modified=self._future)

    def _piece(self, part: Range) -> bytes | FilePart:
        content = self._content
        if isinstance(content, bytes):
            return content[part.first : part.last + 1]
        return FilePart(content.file, part.first, part.length)


def _etag(opened: Opened, digest: str | None, coding: bytes) -> bytes:
    """
    Return the strong entity tag of a file.

    For a file in memory it is made of the content, so that all machines have the same
    tag; for a larger file it is made of size and modification time.
    """
    mark = digest or f"{opened.identity.modified_ns:x}-{opened.size:x}"
    return f'"{mark}{SUFFIXES.get(coding, b"").decode()}"'.encode()
