"""
The head of a response: status, header fields and framing.

Fields that the application does not access are written without creating `Headers`.

`_connection` and `_head` are attributes of `ClusterRequest`. The parts of twisted.web's
requests that are used here are those of Twisted 26.10.
"""

from collections.abc import Sequence
from http import HTTPStatus
from math import ceil
from typing import Any, AnyStr, Final

from twisted.internet.defer import Deferred
from twisted.web.http import CACHED, RESPONSES, datetimeToString
from twisted.web.http_headers import Headers

from clusterapp.http.application.response_headers import (
    ResponseHeaders,
    as_value,
    field_line,
)
from clusterapp.http.application.routable import Routable
from clusterapp.http.lazy import Lazy
from clusterapp.http.syntax.http_date import time_of
from clusterapp.http.syntax.message_head import options
from clusterapp.http.syntax.request_head import Head
from clusterapp.http.syntax.response_framing import InvalidResponseError, one_line
from clusterapp.http.syntax.status_line import check_final, last_modified, status_line

#: The statuses whose responses have no content (RFC 9110, 6.4.1 and 15.3.6).
BODILESS: Final = frozenset(
    {HTTPStatus.NO_CONTENT, HTTPStatus.RESET_CONTENT, HTTPStatus.NOT_MODIFIED}
)
#: Those of them that may not have the application's Content-Length (RFC 9110, 8.6 and
#: 15.3.6).
_UNMEASURED: Final = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.RESET_CONTENT})
#: The valid status codes (RFC 9110, section 15).
_CODES: Final = range(100, 1000)
# Bound here, since lookup in that module is slow: a proxy for deprecated names.
REASONS: Final = RESPONSES

#: Response fields that affect more than their own line.
_SPECIAL: Final = frozenset(
    {
        b"connection",
        b"content-length",
        b"date",
        b"last-modified",
        b"server",
        b"transfer-encoding",
    }
)


class HeadWriter(Routable):
    """The response-head methods of a `ClusterRequest`."""

    channel: Any
    site: Any
    #: The request's head.
    _head: Head
    #: The request's connection. Resources may replace `site` by another one.
    _connection: Any
    #: Fields that were set before `responseHeaders` was created: their lines by their
    #: names in lower case.
    _plain: dict[bytes, bytes]
    #: The bytes of the body that remain to be written, if its length is known.
    _owed: int | None = None
    #: Whether the response has no body, whatever the application writes.
    _drops = False
    #: Whether the server has ended the response in place of the application, whose
    #: further writes are dropped.
    _given_up = False
    #: Header lines that the application can neither read nor change.
    extra_header_lines = b""

    @Lazy
    def notifications(self) -> list[Deferred[None]]:
        """The Deferreds that fire when the request ends."""
        return []

    @Lazy
    def cookies(self) -> list[bytes]:
        """The cookies to set."""
        return []

    @Lazy
    def responseHeaders(self) -> Headers:
        """The response's fields, including those set before."""
        headers = ResponseHeaders()
        for line in self._connection.site.lines.split(b"\r\n")[:-1]:
            name, _, value = line.partition(b": ")
            headers.setRawHeaders(name, [value])
        for line in self._plain.values():
            name, _, value = line[:-2].partition(b": ")
            headers.setRawHeaders(name, [value])
        if self.finished and b"content-length" not in self._plain:
            self._add_what_was_sent(headers)
        return headers

    def _add_what_was_sent(self, headers: Headers) -> None:
        """Add the fields that `_respond_at_once` has written itself."""
        if self.chunked or self._drops or self.clientproto != b"HTTP/1.1":
            return  # it was not used
        headers.setRawHeaders(b"content-length", [b"%d" % self.sentLength])
        if self.sentLength and not headers.hasHeader(b"content-type"):
            headers.setRawHeaders(b"content-type", [self.defaultContentType or b""])

    def setHeader(self, name: AnyStr, value: AnyStr) -> None:
        """
        Set a field of the response.

        :raises ValueError: if the value has a line break or a NUL.
        """
        if "responseHeaders" in self.__dict__:
            self.responseHeaders.setRawHeaders(name, [value])
            return
        lowered, line = field_line(name, value)
        if lowered in _SPECIAL:
            self.responseHeaders.setRawHeaders(name, [value])
        else:
            self._plain[lowered] = line

    def has_response_header(self, name: bytes) -> bool:
        """Return whether a field was set; `name` in lower case."""
        if "responseHeaders" in self.__dict__:
            return bool(self.responseHeaders.hasHeader(name))
        return name in self._plain

    def setResponseCode(self, code: int, message: bytes | None = None) -> None:
        """
        Set the status of the response.

        :param code: the status code.
        :param message: the reason phrase; the standard one by default.
        :raises ValueError: if the code does not have three digits, or the reason phrase
            has a line break or a NUL.
        :raises TypeError: if the code is not an int, or the reason phrase not bytes.
        """
        if code not in _CODES:
            _check_code(code)
        if message is not None:
            if not isinstance(message, bytes):
                raise TypeError(f"a reason phrase is bytes, not {message!r}")
            one_line(message)
        super().setResponseCode(code, message)

    def setLastModified(self, when: float) -> object:
        """
        Set the time of the last modification; see `twisted.web.http.Request`.

        An invalid HTTP-date in If-Modified-Since is ignored (RFC 9110, section 13.1.3);
        Twisted's own parser accepts many.
        """
        self.lastModified = max(ceil(when), self.lastModified or 0)
        since = time_of(self.getHeader(b"if-modified-since") or b"")
        if since is None or since.timestamp() < self.lastModified:
            return None
        self.setResponseCode(HTTPStatus.NOT_MODIFIED)
        return CACHED

    def addCookie(self, k: AnyStr, v: AnyStr, *more: Any, **named: Any) -> None:
        """
        Set a cookie; see `twisted.web.http.Request.addCookie`.

        :raises ValueError: if any part of it has a line break or a NUL.
        """
        for part in (k, v, *more, *named.values()):
            if isinstance(part, str | bytes):
                as_value(part)
        super().addCookie(k, v, *more, **named)

    def _opening(self) -> bytes:
        """
        Return the head, and choose the framing of the body.

        :raises ValueError: if the head is invalid; it may be changed then, and tried
            again.
        """
        status = self._status()
        # A value that is rejected here is reset first, or no error could be sent,
        # either.
        when = self.lastModified
        if when is not None and not self.has_response_header(b"last-modified"):
            self.lastModified = None
            self.setHeader(b"last-modified", datetimeToString(when))
            self.lastModified = when
        if self.etag is not None:
            etag, self.etag = self.etag, None
            self.setHeader(b"etag", etag)
            self.etag = etag
        cookies = self.__dict__.pop("cookies", None)
        if cookies:
            self.responseHeaders.setRawHeaders(b"set-cookie", cookies)
            self.cookies = cookies
        self._drops = self.method == b"HEAD" or self.code in BODILESS
        if self.chunked:  # an earlier attempt has failed
            self.chunked = 0
        if "responseHeaders" in self.__dict__:
            lines = self._lines()
        else:
            plain = self._plain
            kind = self._default_type(empty=self._owed == 0)
            if kind is not None and b"content-type" not in plain:
                self.setHeader(b"content-type", kind)
            lines = b"".join(plain.values()) + self._common_lines
        framing = b""
        if self.code == HTTPStatus.RESET_CONTENT:
            framing = b"Content-Length: 0\r\n"
        elif self._owed is None and not self._drops:
            if self.clientproto == b"HTTP/1.1":
                self.chunked = 1
                framing = b"Transfer-Encoding: chunked\r\n"
            else:
                self.channel.close_after()
        header_value = self.channel.connection_header(self.clientproto)
        return b"".join(
            (status, lines, self.extra_header_lines, framing, header_value, b"\r\n")
        )

    @property
    def _common_lines(self) -> bytes:
        """
        The fields of every response of this connection, even if a resource replaces
        `site`.
        """
        lines: bytes = self._connection.site.lines
        return lines

    def _status(self) -> bytes:
        code = self.code
        # A WebSocket starts with a 101 if the client has requested an upgrade.
        if code != HTTPStatus.SWITCHING_PROTOCOLS or not self._head.upgrade:
            check_final(code)
            if self.code_message is REASONS.get(code):
                return status_line(code)
        return b"HTTP/1.1 %d %b\r\n" % (code, one_line(self.code_message))

    def _default_type(self, *, empty: bool) -> bytes | None:
        """Return the default content type; None if the response has no content."""
        return None if empty or self.code in BODILESS else self.defaultContentType

    def _lines(self) -> bytes:
        """Return the lines of `responseHeaders`; the framing is not included."""
        headers = self.responseHeaders
        length = headers.getRawHeaders(b"content-length")
        self._owed = None
        if length and not self._drops:
            self._owed = _length_of(length)
        self._date_modification(headers)
        kind = self._default_type(empty=length is not None and length[0] == b"0")
        if kind is not None and headers.getRawHeaders(b"content-type") is None:
            headers.setRawHeaders(b"content-type", [kind])
        header_value = headers.getRawHeaders(b"connection", [])
        if b"close" in options([(b"connection", line) for line in header_value]):
            self.channel.close_after()
        return b"".join(
            b"%b: %b\r\n" % (name, one_line(value))
            for name, values in headers.getAllRawHeaders()
            for value in values
            if self._is_ours_to_write(name.lower())
        )

    def _is_ours_to_write(self, name: bytes) -> bool:
        if name == b"content-length":  # RFC 9110, sections 8.6 and 15.3.6
            return self.code not in _UNMEASURED
        return name not in (b"connection", b"transfer-encoding") or self.code == 101  # noqa: PLR2004

    def _date_modification(self, headers: Headers) -> None:
        """Correct a Last-Modified in the future (RFC 9110, section 8.8.2.1)."""
        lines = headers.getRawHeaders(b"last-modified")
        if not lines:
            return
        [now] = headers.getRawHeaders(b"date", [b""])[:1]
        when = time_of(lines[0])
        if when is None:
            return  # an invalid date is left as it is
        try:
            date = last_modified(when.timestamp(), now)
        except ValueError:
            return  # so is one beside an invalid Date
        if date != lines[0]:
            headers.setRawHeaders(b"last-modified", [date])


def _check_code(code: object) -> None:
    if not isinstance(code, int):
        raise TypeError(f"a status code is an int, not {code!r}")
    raise InvalidResponseError(f"a status code has three digits: {code}")


def _length_of(lines: Sequence[bytes]) -> int:
    if len(set(lines)) > 1 or not lines[0].isdigit():
        raise InvalidResponseError(f"no sensible Content-Length: {lines!r}")
    return int(lines[0])
