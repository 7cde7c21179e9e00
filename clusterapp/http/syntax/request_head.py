"""
Request heads out of bytes: pure parsing, no I/O (RFC 9112, sections 2, 3 and 6).

httptools splits a whole head, with all of llhttp's leniencies off. What llhttp lets
through although a server must not, is refused here; each place says why.

Bodies are not given to llhttp: it does not tell where in a piece of data a message
ends, and what follows may be another request that must wait for its turn.
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

from clusterapp.http.application.routable import routed_path
from clusterapp.http.lazy import Lazy
from clusterapp.http.limits import LONGEST_NAME, Limits
from clusterapp.http.syntax.authority import is_host
from clusterapp.http.syntax.client_origin import LOWER_NAME, Origin, take_origin
from clusterapp.http.syntax.websocket_handshake import (
    accept_handshake,
    offers_websocket,
)

if TYPE_CHECKING:
    from clusterapp.interfaces import Fields

END: Final = b"\r\n\r\n"

#: The fields that decide how a message is read, in lower case.
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

#: Clients that ask the same again send the same bytes: health checks, those that
#: poll, proxies. So heads without a body are remembered: this many, up to so many
#: bytes, which bounds the memory to about 1 MiB. Only what has come twice is: to keep
#: what never comes again would cost more than to read it.
_REMEMBERED: Final = 256
_LONGEST_REMEMBERED: Final = 1024

#: How an authority without a host begins.
_NO_HOST: Final = frozenset({b"", b":"})
#: What llhttp skips before a method, and we would take for a part of it.
_LINE_ENDS: Final = frozenset({b"\r", b"\n"})
_TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VERSION: Final = re.compile(rb"HTTP/[0-9]\.[0-9]")
#: What a target may consist of (RFC 3986, section 2): no "#", which begins what a
#: client keeps to itself, no space, no control, nothing beyond ASCII. Some more
#: than the RFC names are let through, since browsers send them in queries.
_TARGET: Final = re.compile(rb'[!"$-~]+')
_ABSOLUTE: Final = re.compile(rb"https?://([^/?]*)(.*)", re.IGNORECASE | re.DOTALL)
#: The digits of the largest Content-Length: below 2**63, the longest file.
_MOST_DIGITS: Final = 18
_REPEATED_ONCE: Final = frozenset({LOWER_NAME, b"connection", b"expect", b"upgrade"})


class BadMessageError(Exception):
    """
    A message that is answered with an error and the end of the connection.

    :ivar status: the status of that answer.
    :ivar fields: the fields that it has besides the usual ones.
    """

    def __init__(self, status: HTTPStatus, reason: str, fields: "Fields" = ()) -> None:
        super().__init__(reason)
        self.status = status
        self.fields = fields


class Head:
    """
    The head of a request.

    :ivar method: as on the wire, such as ``b"GET"``.
    :ivar target: the request target in origin-form or ``b"*"``, byte for byte.
    :ivar version: ``b"HTTP/1.0"`` or ``b"HTTP/1.1"``.
    :ivar fields: the fields in their order and spelling. Where the target came in
        absolute-form, its authority stands in the Host field (RFC 9112, 3.2.2).
    :ivar length: the body's length in bytes, 0 without a body, None if in chunks.
    :ivar keeps: whether another request may follow on the connection.
    :ivar expects: whether the client waits for a 100 before it sends the body.
    :ivar upgrade: the protocols that it offers to switch to, in lower case; empty
        if it does not (RFC 9110, section 7.8).
    :ivar websocket: whether it is the opening handshake of a WebSocket, which has
        been checked.
    :ivar origin: the client's connection, as a worker tells it that has passed the
        request on; None if the client is at the other end of this one.

    It may be that of many requests, and must not be changed.
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
        self.version = version
        self.fields: Fields = fields

    @Lazy
    def path(self) -> bytes:
        """The target without its query."""
        return self.target.partition(b"?")[0]

    @Lazy
    def path_text(self) -> str | None:
        """The path as a Klein matches it; None if it is not UTF-8."""
        return routed_path(self.path)


class HeadReader:
    """
    Reads heads, of one connection or of many.

    Each head has a parser of its own, so that nothing of one client's bytes is left
    in it for another's, whatever is raised meanwhile.

    :param limits: the bounds of a head, among others.
    :param of_workers: whether the heads come from workers, which tell whose they are.
    """

    def __init__(self, limits: Limits, *, of_workers: bool = False) -> None:
        self.limits = limits
        self._of_workers = of_workers
        self._fields: list[tuple[bytes, bytes]] = []
        self._noted: dict[bytes, bytes] = {}
        self._known: dict[bytes, Head] = {}
        # The hashes of heads that came once.
        self._once: set[int] = set()

    def read(self, raw: bytes) -> Head:
        """
        Read one head.

        :param raw: the head with the empty line that ends it.
        :raises BadMessageError: for what must not be served.
        """
        head = self._known.get(raw)
        if head is not None:
            return head
        head = self._read(raw)
        if len(raw) <= _LONGEST_REMEMBERED and head.length == 0:
            self._consider(raw, head)
        return head

    def _consider(self, raw: bytes, head: Head) -> None:
        """Remember a head if it came not long ago as well."""
        mark = hash(raw)
        if mark in self._once:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[raw] = head
        else:
            if len(self._once) >= _REMEMBERED:
                self._once.clear()
            self._once.add(mark)

    def _read(self, raw: bytes) -> Head:
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
            # llhttp takes what comes next for another protocol.
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
        """Take a field: httptools calls this."""
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
            # llhttp refuses a second Content-Length; for Host see RFC 9112, 3.2.
            raise _bad(f"{name.decode()} is there twice")


_VERSIONS: Final = frozenset({b"HTTP/1.1", b"HTTP/1.0"})


def check_start(start: bytes, limits: Limits) -> None:
    """
    Look at the beginning of a head that has not come whole yet.

    :raises BadMessageError: if it is too long, or can never become a head.
    """
    line_end = start.find(b"\r\n")
    if max(line_end, 0) > limits.request_line or (
        line_end < 0 and len(start) > limits.request_line + 1
    ):
        raise BadMessageError(HTTPStatus.REQUEST_URI_TOO_LONG, "request line")
    if len(start) > limits.head:
        raise _too_large("the head is too large")
    # Its end would not be recognized, and the client wait in vain.
    if start.count(b"\n") != start.count(b"\r\n"):
        raise _bad("a line feed without a carriage return")


def _as_known_version(raw: bytes, line: bytes) -> tuple[bytes, list[bytes]]:
    """
    Read a request of a later minor version as one of HTTP/1.1 (RFC 9110, section 2.5).

    :param raw: a head whose request line is none of HTTP/1.1 or 1.0.
    :param line: that line.
    :return: the head as one of HTTP/1.1, and the three words of its first line.
    :raises BadMessageError: if it is no request line, or of another major version.
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
    """Say what is wrong with a head that llhttp does not take."""
    if isinstance(error, HttpParserCallbackError):
        cause = error.__context__  # `on_header` has raised it
        if not isinstance(cause, BadMessageError):
            raise cause or error
        return cause
    if not isinstance(error, HttpParserInvalidMethodError):
        return _bad(str(error))
    if _TOKEN.fullmatch(method):
        return BadMessageError(HTTPStatus.NOT_IMPLEMENTED, "unknown method")
    return _bad("no method")


def _check_target(head: Head, noted: dict[bytes, bytes]) -> None:
    """Accept the other forms of a target (RFC 9112, section 3.2)."""
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
    if b"host" in noted:
        _replace_host(head, authority)
    else:  # HTTP/1.0; without one, HTTP/1.1 is refused
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
    """Read the fields that decide how the message goes on, and whose it is."""
    told = noted.get(LOWER_NAME)
    if told is not None:
        head.fields, head.origin = take_origin(head.fields, told, believed=of_workers)
        if of_workers and head.origin is None:
            raise _bad("it does not say whose it is")
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
    """Find the body's length (RFC 9112, section 6.3); llhttp has checked its form."""
    coding = noted.get(b"transfer-encoding")
    if coding is None:
        return content_length(noted.get(b"content-length", b"0"))
    if b"content-length" in noted or not is_new:
        # A sign of smuggling, or of a proxy that does not know what it passes on.
        raise _bad("Transfer-Encoding where none may be")
    if coding.lower() != b"chunked":
        # RFC 9112, section 6.1.
        raise BadMessageError(HTTPStatus.NOT_IMPLEMENTED, "unknown transfer coding")
    return None


def content_length(value: bytes) -> int:
    """
    Return the value of a Content-Length field (RFC 9110, section 8.6).

    The digits are counted before they are converted: Python refuses to convert more
    than 4,300, which leading zeros may be, and takes quadratic time for fewer.

    :param value: one digit or more.
    :raises BadMessageError: 413 if the length is of more than 18 digits.
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
