"""The framing of responses: how the end of a body is marked."""

from http import HTTPStatus

from clusterapp.http.syntax.message_head import ResponseHead, has_lines
from clusterapp.interfaces import Fields

#: The statuses whose responses never have a body (RFC 9110, section 6.4.1).
_BODILESS = frozenset(
    {
        HTTPStatus.SWITCHING_PROTOCOLS,
        HTTPStatus.NO_CONTENT,
        HTTPStatus.NOT_MODIFIED,
    }
)


#: The fields that are not passed on: the coding is that of the upstream's connection,
#: and a response without a body has no length (RFC 9110, section 8.6).
_CODING = frozenset({b"transfer-encoding"})
_FRAMING_FIELDS = _CODING | {b"content-length"}


class InvalidResponseError(ValueError):
    """A response of an application that is invalid and must not be sent."""


class Framing:
    """
    The framing of one response (RFC 9112, section 6).

    A `Content-Length` among the head's fields is kept; without one the body is chunked
    for HTTP/1.1, and delimited by the close of the connection for HTTP/1.0.

    :param method: the method of the request.
    :param version: the version of the request, such as ``b"HTTP/1.1"``.
    :param head: the response's head; its fields are end-to-end ones, but for a 101's
        ``Upgrade`` and ``Connection``.
    :raises ValueError: if a field cannot be written as it is, or if the head has an
        invalid length.
    """

    def __init__(self, method: bytes, version: bytes, head: ResponseHead) -> None:
        self._head = head
        self._is_old = version == b"HTTP/1.0"
        length = _content_length(head.fields)
        self._bodiless = method == b"HEAD" or head.status in _BODILESS
        #: The bytes of a body of known length that remain to be written.
        self.owed = 0 if self._bodiless or length is None else length
        unknown = not self._bodiless and length is None
        #: Whether the body is chunked.
        self.chunked = unknown and version == b"HTTP/1.1"
        #: Whether the close of the connection delimits the body.
        self.until_close = unknown and not self.chunked

    def opening(self, *, closing: bool) -> bytes:
        """
        Encode the head.

        :param closing: whether the connection is closed after this response.
        """
        without_length = self._head.status == HTTPStatus.NO_CONTENT
        dropped = _FRAMING_FIELDS if without_length else _CODING
        fields = [pair for pair in self._head.fields if pair[0].lower() not in dropped]
        if self.chunked:
            fields.append((b"Transfer-Encoding", b"chunked"))
        if self._head.status != HTTPStatus.SWITCHING_PROTOCOLS:
            if closing:
                fields.append((b"Connection", b"close"))
            elif self._is_old:
                # Such a client would assume a close otherwise (RFC 9112, section 9.3).
                fields.append((b"Connection", b"keep-alive"))
        return encode(ResponseHead(self._head.status, self._head.reason, fields))

    def piece(self, body: bytes) -> list[bytes]:
        """
        Encode a piece of the body.

        :raises ValueError: if the body exceeds its Content-Length.
        """
        if self._bodiless or not body:
            return []
        if self.chunked:
            return [b"%x\r\n" % len(body), body, b"\r\n"]
        if not self.until_close:
            if len(body) > self.owed:
                raise ValueError("the body is longer than its Content-Length")
            self.owed -= len(body)
        return [body]

    def ending(self, trailers: Fields) -> bytes:
        """Encode the end of the body; only chunked bodies have trailers."""
        return _encoded(b"0\r\n", trailers) if self.chunked else b""


def encode(head: ResponseHead) -> bytes:
    """
    Encode a status line and its fields, in their order and case.

    :raises ValueError: if the reason or a field has a line break or a NUL.
    """
    return _encoded(b"HTTP/1.1 %d %s\r\n" % (head.status, head.reason), head.fields)


def one_line(text: bytes) -> bytes:
    """
    Return the text if it cannot be split into lines (RFC 9110, section 5.5).

    :raises ValueError: if it has a line break or a NUL.
    """
    if len(text.translate(None, b"\r\n\0")) != len(text):
        raise ValueError(f"cannot stand in a head: {text!r}")
    return text


def _encoded(first: bytes, fields: Fields) -> bytes:
    """Encode a first line, fields, and the empty line behind them."""
    lines = [first, *[b"%s: %s\r\n" % pair for pair in fields], b"\r\n"]
    wire = b"".join(lines)
    if not has_lines(wire, len(lines)):  # all at once; now find the culprit
        for line in lines:
            one_line(line.removesuffix(b"\r\n"))
    return wire


def _content_length(fields: Fields) -> int | None:
    values = {value for name, value in fields if name.lower() == b"content-length"}
    if not values:
        return None
    text = values.pop()
    if values or not text.isdigit():
        raise ValueError("no sensible Content-Length")
    return int(text)
