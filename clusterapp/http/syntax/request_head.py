"""
A parser of request heads, without I/O (RFC 9112, sections 2, 3 and 6).

httptools parses a complete head, with all of llhttp's leniencies off. Input that llhttp
accepts although a server must not is rejected here; each place says why.

Bodies are not passed to llhttp: it does not report where in a piece of data a message
ends, and the following bytes may be another request that must wait for its turn.
"""

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from httptools import (
    HttpParserCallbackError,
    HttpParserError,
    HttpParserInvalidMethodError,
    HttpParserUpgrade,
    HttpRequestParser,
)

from clusterapp.http.connection_limits import LONGEST_NAME, Limits
from clusterapp.http.lazy import Lazy
from clusterapp.http.syntax.authority import is_host
from clusterapp.http.syntax.client_origin import LOWER_NAME, Origin, take_origin
from clusterapp.http.syntax.target_path import routed_path
from clusterapp.http.websocket.handshake import (
    accept_handshake,
    offers_websocket,
)

if TYPE_CHECKING:
    from clusterapp.interfaces import Fields

END: Final = b"\r\n\r\n"

#: The fields that decide how a message is processed, in lower case.
_NOTED: Final = frozenset(
    {
        LOWER_NAME,
        b"connection",
        b"content-length",
        b"expect",
        b"host",
        b"transfer-encoding",
        b"upgrade",
    }
)

#: The beginnings of an authority without a host.
_NO_HOST: Final = frozenset({b"", b":"})
#: llhttp skips these before a method; here they would become a part of it.
_LINE_ENDS: Final = frozenset({b"\r", b"\n"})
_TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VERSION: Final = re.compile(rb"HTTP/[0-9]\.[0-9]")
#: The bytes allowed in a target (RFC 3986, section 2): no "#", which begins a fragment
#: that a client does not send, no space, no control character, nothing beyond ASCII.
#: Some more than the RFC lists are allowed, since browsers send them in queries.
_TARGET: Final = re.compile(rb'[!"$-~]+')
_ABSOLUTE: Final = re.compile(rb"https?://([^/?]*)(.*)", re.IGNORECASE | re.DOTALL)
#: The most digits of a Content-Length: below 2**63, the longest file.
_MOST_DIGITS: Final = 18
_REPEATED_ONCE: Final = frozenset({LOWER_NAME, b"connection", b"expect", b"upgrade"})


class BadMessageError(Exception):
    """
    A message that is answered with an error, after which the connection is closed.

    :ivar status: the status of the response.
    :ivar fields: additional fields of the response.
    """

    def __init__(self, status: HTTPStatus, reason: str, fields: "Fields" = ()) -> None:
        super().__init__(reason)
        self.status = status
        self.fields = fields


class Head:
    """
    The head of a request.

    :ivar method: the method as received, such as ``b"GET"``.
    :ivar target: the request target in origin-form or ``b"*"``, byte for byte.
    :ivar path: the target without its query.
    :ivar version: ``b"HTTP/1.0"`` or ``b"HTTP/1.1"``.
    :ivar fields: the fields in their order and case. If the target was in
        absolute-form, its authority replaces the Host field (RFC 9112, 3.2.2).
    :ivar length: the body's length in bytes, 0 without a body, None if chunked.
    :ivar keeps: whether another request may follow on the connection.
    :ivar expects: whether the client waits for a 100 before it sends the body.
    :ivar upgrade: the protocols that it offers to switch to, in lower case; empty if it
        does not (RFC 9110, section 7.8).
    :ivar websocket: whether it is the opening handshake of a WebSocket, which has been
        checked.
    :ivar origin: the client's connection, as sent by the worker that has forwarded the
        request; None if this connection is the client's.
    """

    length: int | None = 0
    keeps = True
    expects = False
    upgrade = b""
    websocket = False
    origin: Origin | None = None

    def __init__(
        self,
        method: bytes,
        target: bytes,
        version: bytes,
        fields: list[tuple[bytes, bytes]],
    ) -> None:
        self.method = method
        self.target = target
        self.path = target.partition(b"?")[0]
        self.version = version
        self.fields: Fields = fields

    @Lazy
    def path_text(self) -> str | None:
        """The path for Klein's matching; None if it is not UTF-8."""
        return routed_path(self.path)


class HeadReader:
    """
    A parser of heads, for one connection or for many.

    Each head gets a parser of its own, so that no bytes of one client are left in it
    for another client's head, whatever is raised meanwhile.

    :param limits: the limits of a head, among others.
    :param of_workers: whether the heads come from workers, which send the client's
        origin.
    """

    def __init__(self, limits: Limits, *, of_workers: bool = False) -> None:
        self.limits = limits
        self._of_workers = of_workers
        self._fields: list[tuple[bytes, bytes]] = []
        self._noted: dict[bytes, bytes] = {}

    def read(self, raw: bytes) -> Head:
        """
        Parse one head.

        :param raw: the head with the empty line that ends it.
        :raises BadMessageError: for a request that must not be served.
        """
        limits = self.limits
        line = raw[: raw.index(b"\r\n")]
        if len(line) > limits.request_line:
            raise BadMessageError(HTTPStatus.REQUEST_URI_TOO_LONG, "request line")
        words = line.split(b" ")
        if len(words) != 3 or words[2] not in _VERSIONS or line[:1] in _LINE_ENDS:  # noqa: PLR2004
            raw, words = _as_known_version(raw, line)
        method, target, version = words
        fields = self._fields = []
        noted = self._noted = {}
        try:
            HttpRequestParser(self).feed_data(raw)
        except HttpParserUpgrade:
            # llhttp treats the following bytes as another protocol's.
            if method == b"CONNECT":
                raise BadMessageError(
                    HTTPStatus.NOT_IMPLEMENTED, "this is no proxy"
                ) from None
        except HttpParserError as error:
            raise _as_refusal(error, method) from None
        if len(raw) > limits.head or len(fields) > limits.fields:
            raise _too_large("the head is too large")
        head = Head(method, target, version, fields)
        if target[:1] != b"/" or b"#" in target:
            _check_target(head, noted)
        _check_host(version, noted.get(b"host"))
        if len(noted) > 1 or version == b"HTTP/1.0":
            _note(head, noted, of_workers=self._of_workers)
        return head

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by httptools with each field."""
        if len(name) > LONGEST_NAME:
            raise _too_large("a field's name is too long")
        value = value.rstrip(b" \t")
        self._fields.append((name, value))
        lowered = name.lower()
        if lowered in _NOTED:
            self._note(lowered, value)

    def _note(self, name: bytes, value: bytes) -> None:
        noted = self._noted
        if name not in noted:
            noted[name] = value
        elif name in _REPEATED_ONCE:
            noted[name] += b"," + value
        else:
            # llhttp rejects a second Content-Length; for Host see RFC 9112, 3.2.
            raise _bad(f"{name.decode()} is there twice")


_VERSIONS: Final = frozenset({b"HTTP/1.1", b"HTTP/1.0"})


def check_start(start: bytes, limits: Limits) -> None:
    """
    Check the beginning of an incomplete head.

    :raises BadMessageError: if it is too long, or can never become a valid head.
    """
    line_end = start.find(b"\r\n")
    if max(line_end, 0) > limits.request_line or (
        line_end < 0 and len(start) > limits.request_line + 1
    ):
        raise BadMessageError(HTTPStatus.REQUEST_URI_TOO_LONG, "request line")
    if len(start) > limits.head:
        raise _too_large("the head is too large")
    # Its end would not be detected, and the client would wait in vain.
    if start.count(b"\n") != start.count(b"\r\n"):
        raise _bad("a line feed without a carriage return")


def _as_known_version(raw: bytes, line: bytes) -> tuple[bytes, list[bytes]]:
    """
    Convert a request of a later minor version to HTTP/1.1 (RFC 9110, section 2.5).

    :param raw: a head whose request line is not one of HTTP/1.1 or 1.0.
    :param line: that line.
    :return: the head as one of HTTP/1.1, and the three words of its first line.
    :raises BadMessageError: if it is not a request line, or of another major version.
    """
    words = line.split(b" ")
    if len(words) != 3 or line[:1] in _LINE_ENDS or not _VERSION.fullmatch(words[2]):  # noqa: PLR2004
        raise _bad("no request line")
    if not words[2].startswith(b"HTTP/1."):
        raise BadMessageError(
            HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "HTTP/1.1 is spoken here"
        )
    return line[:-1] + b"1" + raw[len(line) :], [*words[:2], b"HTTP/1.1"]


def _as_refusal(error: HttpParserError, method: bytes) -> BadMessageError:
    """Return the error for a head that llhttp has rejected."""
    if isinstance(error, HttpParserCallbackError):
        cause = error.__context__  # raised by `on_header`
        if not isinstance(cause, BadMessageError):
            raise cause or error
        return cause
    if not isinstance(error, HttpParserInvalidMethodError):
        return _bad(str(error))
    if _TOKEN.fullmatch(method):
        return BadMessageError(HTTPStatus.NOT_IMPLEMENTED, "unknown method")
    return _bad("no method")


def _check_target(head: Head, noted: dict[bytes, bytes]) -> None:
    """Process the other forms of a target (RFC 9112, section 3.2)."""
    target = head.target
    if not _TARGET.fullmatch(target):
        raise _bad("a target has no fragment")
    if target == b"*":
        if head.method != b"OPTIONS":
            raise _bad("only OPTIONS may ask for *")
        return
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        raise _bad("no path")
    authority, rest = absolute.groups()
    if authority[:1] in _NO_HOST or not is_host(authority):
        raise _bad("no authority")
    if not rest.startswith(b"/"):
        rest = b"*" if (rest, head.method) == (b"", b"OPTIONS") else b"/" + rest
    head.target = rest
    head.path = rest.partition(b"?")[0]
    if b"host" in noted:
        _replace_host(head, authority)
    else:  # HTTP/1.0; HTTP/1.1 without one is rejected
        head.fields = [*head.fields, (b"Host", authority)]


def _check_host(version: bytes, host: bytes | None) -> None:
    if host is None:
        if version == b"HTTP/1.1":
            raise _bad("there is no Host")
    elif not is_host(host):
        raise _bad("no valid Host")


def _replace_host(head: Head, authority: bytes) -> None:
    head.fields = [
        (name, authority if name.lower() == b"host" else value)
        for name, value in head.fields
    ]


def _note(head: Head, noted: dict[bytes, bytes], *, of_workers: bool) -> None:
    """Process the fields that affect the rest of the message, and its origin."""
    origin_value = noted.get(LOWER_NAME)
    if origin_value is not None:
        head.fields, head.origin = take_origin(
            head.fields, origin_value, believed=of_workers
        )
        if of_workers and head.origin is None:
            raise _bad("a relayed request without a client's origin")
    is_new = head.version == b"HTTP/1.1"
    head.length = _length(noted, is_new=is_new)
    listed = noted.get(b"connection")
    options = (
        [option.strip(b" \t") for option in listed.lower().split(b",")]
        if listed is not None
        else ()
    )
    head.keeps = b"close" not in options and (is_new or b"keep-alive" in options)
    head.expects = (
        is_new
        and head.length != 0
        and noted.get(b"expect", b"").lower() == b"100-continue"
    )
    upgrade = noted.get(b"upgrade")
    if upgrade is not None:
        upgrades = b"upgrade" in options
        if offers_websocket(upgrade):
            refusal = accept_handshake(head, upgrade, connection_upgrades=upgrades)
            if refusal is not None:
                raise BadMessageError(*refusal)
            upgrade = b"websocket"
        if is_new and upgrades:
            head.upgrade = upgrade.lower()


def _length(noted: dict[bytes, bytes], *, is_new: bool) -> int | None:
    """Return the body's length (RFC 9112, 6.3); llhttp has checked its syntax."""
    coding = noted.get(b"transfer-encoding")
    if coding is None:
        return content_length(noted.get(b"content-length", b"0"))
    if b"content-length" in noted or not is_new:
        # A sign of request smuggling, or of a proxy that does not understand the
        # message.
        raise _bad("Transfer-Encoding where none may be")
    if coding.lower() != b"chunked":
        # RFC 9112, section 6.1.
        raise BadMessageError(HTTPStatus.NOT_IMPLEMENTED, "unknown transfer coding")
    return None


def content_length(value: bytes) -> int:
    """
    Return the value of a Content-Length field (RFC 9110, section 8.6).

    The digits are counted before they are converted: Python refuses to convert more
    than 4,300, which may be leading zeros, and takes quadratic time for fewer.

    :param value: one digit or more.
    :raises BadMessageError: 413 if the length has more than 18 digits.
    """
    digits = value.lstrip(b"0")
    if len(digits) > _MOST_DIGITS:
        raise BadMessageError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the body is too long"
        )
    return int(digits or b"0")


def _bad(reason: str) -> BadMessageError:
    return BadMessageError(HTTPStatus.BAD_REQUEST, reason)


def _too_large(reason: str) -> BadMessageError:
    return BadMessageError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, reason)
