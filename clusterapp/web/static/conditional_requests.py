"""Conditional requests for a file (RFC 9110, section 13)."""

import re
from collections.abc import Mapping
from enum import Enum, auto
from typing import Final

from clusterapp.http.syntax.http_date import time_of

IF_MATCH: Final = b"if-match"
IF_NONE_MATCH: Final = b"if-none-match"
IF_MODIFIED_SINCE: Final = b"if-modified-since"
IF_UNMODIFIED_SINCE: Final = b"if-unmodified-since"
IF_RANGE: Final = b"if-range"

_TAG = rb'(W/)?("[\x21\x23-\x7e\x80-\xff]*")'
_TAGS = re.compile(rb"[ \t,]*" + _TAG + rb"[ \t]*(?=,|\Z)")


class ConditionResult(Enum):
    """The result of the evaluation of a request's conditions."""

    #: The request is processed as if it had no conditions.
    PERFORM = auto()
    #: 304 Not Modified.
    UNCHANGED = auto()
    #: 412 Precondition Failed.
    FAILED = auto()


def judge(
    asked: Mapping[bytes, bytes], etag: bytes, modified: bytes
) -> ConditionResult:
    """
    Evaluate the conditions of a GET or HEAD, in the order of section 13.2.2.

    :param asked: the values of the request's fields, by their names in lower case.
    :param etag: the strong entity tag of the selected representation, with its quotes.
    :param modified: the Last-Modified value of the representation.
    """
    if _forbids(asked, etag, modified):
        return ConditionResult.FAILED
    return (
        ConditionResult.UNCHANGED
        if _has_it(asked, etag, modified)
        else ConditionResult.PERFORM
    )


def allows_range(asked: Mapping[bytes, bytes], etag: bytes, modified: bytes) -> bool:
    """Return whether If-Range, if any, has the validator of this representation."""
    value = asked.get(IF_RANGE)
    # A date must be equal: an earlier or later one does not identify the version.
    return value is None or value in (etag, modified)


def _forbids(asked: Mapping[bytes, bytes], etag: bytes, modified: bytes) -> bool:
    if IF_MATCH in asked:
        return not _names(asked[IF_MATCH], etag, weakly=False)
    if IF_UNMODIFIED_SINCE in asked:
        return _is_later(modified, asked[IF_UNMODIFIED_SINCE]) is True
    return False


def _has_it(asked: Mapping[bytes, bytes], etag: bytes, modified: bytes) -> bool:
    if IF_NONE_MATCH in asked:
        return _names(asked[IF_NONE_MATCH], etag, weakly=True)
    if IF_MODIFIED_SINCE in asked:
        return _is_later(modified, asked[IF_MODIFIED_SINCE]) is False
    return False


def _names(value: bytes, etag: bytes, *, weakly: bool) -> bool:
    """Return whether a list of entity tags has ``etag``; an invalid list has none."""
    if value in (b"*", etag):
        return True
    position = 0
    while match := _TAGS.match(value, position):
        if match[2] == etag and (weakly or not match[1]):
            return True
        position = match.end()
    return False


def _is_later(modified: bytes, value: bytes) -> bool | None:
    """Return whether a file is later than a date; None for an invalid date."""
    if value == modified:
        return False
    mine, theirs = time_of(modified), time_of(value)
    return None if mine is None or theirs is None else mine > theirs
