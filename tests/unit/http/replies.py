"""Reads what a server has written, as strictly as RFC 9112 allows."""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

_STATUS = re.compile(rb"HTTP/1\.1 ([1-5][0-9]{2}) ([\t\x20-\x7e\x80-\xff]*)")
_NAME = rb"[-!#$%&'*+.^_`|~0-9A-Za-z]+"
_VALUE = rb"(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?"
_FIELD = re.compile(rb"(%b):[\t ]*(%b)[\t ]*" % (_NAME, _VALUE))
_SIZE = re.compile(rb"[0-9A-Fa-f]{1,16}")
_BODILESS = (204, 304)


class NoReplyError(Exception):
    """What a server has written is not a sequence of responses."""


class Reply(NamedTuple):
    """One response, interim or final."""

    status: int
    fields: list[tuple[bytes, bytes]]
    body: bytes

    def values(self, name: bytes) -> list[bytes]:
        """Find the values of a field, given its name in lower case."""
        return [value for known, value in self.fields if known == name]

    @property
    def options(self) -> set[bytes]:
        """What the ``Connection`` lines name, in lower case."""
        lines = b",".join(self.values(b"connection")).lower().split(b",")
        return {option.strip() for option in lines} - {b""}


class _Stream:
    """Bytes that are taken from the front."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def line(self) -> bytes:
        line, end, self.data = self.data.partition(b"\r\n")
        if not end:
            raise NoReplyError(f"a line has no end: {line[:80]!r}")
        return line

    def take(self, size: int) -> bytes:
        piece, self.data = self.data[:size], self.data[size:]
        if len(piece) < size:
            raise NoReplyError(f"{size - len(piece)} bytes of a body are missing")
        return piece

    def rest(self) -> bytes:
        rest, self.data = self.data, b""
        return rest


def parse(written: bytes, methods: Iterable[bytes] = (), *, ended: bool) -> list[Reply]:
    """
    Split what was written to a client into responses.

    :param methods: what the final responses answer; after the last, GET.
    :param ended: whether the connection has been closed.
    :raises NoReplyError: for whatever a strict client would not understand, and
        for bytes after a response that closes.
    """
    return list(_replies(_Stream(written), iter(methods), ended=ended))


def _replies(
    stream: _Stream, methods: Iterator[bytes], *, ended: bool
) -> Iterator[Reply]:
    while stream.data:
        status, fields = _head(stream)
        reply = Reply(status, fields, b"")
        if status < 200:
            _require(not reply.values(b"content-length"), "a length in a 1xx")
            yield reply
            if status == 101:
                return
            continue
        bodiless = next(methods, b"GET") == b"HEAD" or status in _BODILESS
        # What is refused may have been a HEAD, of which nobody knows.
        bodiless = bodiless or (ended and status >= 400 and not stream.data)
        body = b"" if bodiless else _body(stream, reply, ended=ended)
        _require(not _is_framed_oddly(reply), "odd framing fields")
        yield reply._replace(body=body)
        if b"close" in reply.options:
            _require(not stream.data, "bytes after a response that closes")


def _head(stream: _Stream) -> tuple[int, list[tuple[bytes, bytes]]]:
    line = stream.line()
    status = _STATUS.fullmatch(line)
    if status is None:
        raise NoReplyError(f"no status line: {line[:80]!r}")
    return int(status[1]), list(_fields(stream))


def _fields(stream: _Stream) -> Iterator[tuple[bytes, bytes]]:
    while line := stream.line():
        field = _FIELD.fullmatch(line)
        if field is None:
            raise NoReplyError(f"no field: {line[:80]!r}")
        yield field[1].lower(), field[2]


def _body(stream: _Stream, reply: Reply, *, ended: bool) -> bytes:
    if codings := reply.values(b"transfer-encoding"):
        _require(codings == [b"chunked"], f"a coding we did not ask for: {codings}")
        return b"".join(_chunks(stream))
    if lengths := reply.values(b"content-length"):
        _require(lengths[0].isdigit(), f"no length: {lengths[0]!r}")
        return stream.take(int(lengths[0]))
    _require(ended, "a body without an end")
    return stream.rest()


def _chunks(stream: _Stream) -> Iterator[bytes]:
    while True:
        line = stream.line()
        _require(_SIZE.fullmatch(line), f"no chunk size: {line[:80]!r}")
        if not (size := int(line, 16)):
            break
        yield stream.take(size)
        _require(stream.take(2) == b"\r\n", "a chunk without its line end")
    list(_fields(stream))


def _is_framed_oddly(reply: Reply) -> bool:
    lengths = reply.values(b"content-length")
    codings = reply.values(b"transfer-encoding")
    return (
        len(lengths) > 1
        or len(codings) > 1
        or bool(lengths and codings)
        or (reply.status == 204 and bool(lengths or codings))
    )


def _require(holds: object, otherwise: str) -> None:
    if not holds:
        raise NoReplyError(otherwise)
