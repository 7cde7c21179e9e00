"""
The response half of a request, as applications write it.

What an application does not change is written without being made into `Headers`.
Parts of twisted.web's requests that it does not promise are used: `_disconnected`,
`_inFakeHead` and `_encoder`. They were read in Twisted 26.10.
"""

from typing import Any, AnyStr, Final

from twisted.internet.defer import Deferred
from twisted.web.http import RESPONSES, datetimeToString
from twisted.web.http_headers import Headers

from clusterapp.http.framing import one_line
from clusterapp.http.headers import ResponseHeaders, as_value, field_line
from clusterapp.http.lazy import Lazy
from clusterapp.http.messages import options
from clusterapp.http.reasons import status_line
from clusterapp.http.routable import Routable

_BODILESS: Final = frozenset({204, 304})
#: The media type of Server-Sent Events: browsers come back for more by themselves
#: (HTML, section 9.2).
EVENT_STREAM: Final = b"text/event-stream"
_DEFAULT_TYPE: Final = b"Content-Type: text/html\r\n"

#: What a request gets by that which makes its response take the long way.
_UNUSUAL: Final = frozenset(
    {
        "_body",
        "_disconnected",
        "_encoder",
        "_inFakeHead",
        "_owed",
        "_stream",
        "content",
        "cookies",
        "defaultContentType",
        "etag",
        "finished",
        "lastModified",
        "notifications",
        "producer",
        "responseHeaders",
        "startedWriting",
    }
)

# The module gives it away slowly, by a proxy that looks for deprecated names.
_REASONS: Final = RESPONSES

#: Response fields that more depends on than their own line.
_SPECIAL: Final = frozenset(
    {b"connection", b"content-length", b"date", b"server", b"transfer-encoding"}
)


class Responding(Routable):
    """What a `ClusterRequest` does with its response."""

    channel: Any
    site: Any
    #: What the request came by. Resources may put other sites in the place of `site`.
    _connection: Any
    #: Fields that were set and have not been made into `responseHeaders`: their
    #: lines by their names in lower case.
    _plain: dict[bytes, bytes]
    #: The bytes of the body that are still to come, if its length is known.
    _owed: int | None = None
    #: Whether the response has no body, whatever is written.
    _drops = False
    #: Lines of the head that are not the application's to see or change.
    greeting = b""

    @Lazy
    def notifications(self) -> list[Deferred[None]]:
        """Who is told when this ends."""
        return []

    @Lazy
    def cookies(self) -> list[bytes]:
        """The cookies to set."""
        return []

    @Lazy
    def responseHeaders(self) -> Headers:
        """The response's fields, those among them that have been set before."""
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
        """Add the fields that `_respond_at_once` has written on its own."""
        if self.chunked or self._drops or self.clientproto != b"HTTP/1.1":
            return  # it has not
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

    def setResponseCode(self, code: int, message: bytes | None = None) -> None:
        """
        Set the status of the response.

        :raises ValueError: if the reason phrase has a line break or a NUL.
        """
        if message is not None:
            one_line(message)
        super().setResponseCode(code, message)

    def addCookie(self, k: AnyStr, v: AnyStr, *more: Any, **named: Any) -> None:
        """
        Set a cookie; see `twisted.web.http.Request.addCookie`.

        :raises ValueError: if any part of it has a line break or a NUL.
        """
        for part in (k, v, *more, *named.values()):
            if isinstance(part, str | bytes):
                as_value(part)
        super().addCookie(k, v, *more, **named)

    def respond(self, body: bytes) -> None:
        """
        Send a body that is all of the response, or the rest of it, and finish.

        Like `write` and then `finish`, but that a response which begins here gets a
        Content-Length; nothing is done for a client that has gone.

        :raises RuntimeError: if the response is finished.
        """
        if (
            _UNUSUAL.isdisjoint(self.__dict__)
            and self.method != b"HEAD"
            and self.clientproto == b"HTTP/1.1"
            and self.code not in _BODILESS
        ):
            self._respond_at_once(body)
            return
        if not self.startedWriting and self._encoder is None:
            self._announce(len(body))
        self.write(body)
        if not (self.finished or self._disconnected):
            self.finish()

    def _respond_at_once(self, body: bytes) -> None:
        """Send all of a response about which nothing is out of the ordinary."""
        plain = self._plain
        connection = self.channel
        code = self.code
        length = self.sentLength = len(body)
        connection.write(
            b"".join(
                (
                    status_line(code)
                    if self.code_message is _REASONS.get(code)
                    else self._status(),
                    *plain.values(),
                    _DEFAULT_TYPE if body and b"content-type" not in plain else b"",
                    b"Content-Length: %d\r\n" % length,
                    connection.site.lines,
                    self.greeting,
                    connection.said(b"HTTP/1.1"),
                    b"\r\n",
                    body,
                )
            )
        )
        self.startedWriting = self.finished = 1
        self.channel = None
        connection.response_ended(code, length)

    def write(self, data: bytes) -> None:
        """
        Send a piece of the response, and its head before the first.

        :raises RuntimeError: if the response is finished, and may have a body.
        :raises ValueError: if it gets longer than its Content-Length.
        """
        if self.finished and not self._drops:
            raise RuntimeError("write was called after finish")
        if self.finished or self._disconnected or self._inFakeHead:
            return
        opening = b""
        if not self.startedWriting:
            if self._encoder is not None:
                self.responseHeaders.removeHeader(b"content-length")
            opening = self._opening()
            self.startedWriting = 1
        if self._encoder is not None:
            data = self._encoder.encode(data)
        if data and not self._drops:
            self.channel.write(opening + self._framed(data))
        elif opening:
            self.channel.write(opening)

    def finish(self) -> None:
        """
        Know that all of the response has been written.

        :raises RuntimeError: if the client has gone; see `notifyFinish`.
        """
        if self._disconnected or self.finished:
            super().finish()  # which knows what to say
            return
        if self._inFakeHead:
            return  # `render` finishes what it has made of a HEAD
        if self._encoder is not None:
            encoder, self._encoder = self._encoder, None
            if not self.startedWriting:
                self.responseHeaders.removeHeader(b"content-length")
            self.write(encoder.finish())
        if not self.startedWriting:
            self._announce(0)
            self.write(b"")
        self.finished = 1
        if self.chunked:
            self.channel.write(b"0\r\n\r\n")
        self._end()

    def ending(self) -> bytes | None:
        """Give the end of an event stream, which is whole at any moment."""
        endless = self.startedWriting and not self.finished and self._owed is None
        if not endless or not self._is_event_stream():
            return None
        rest = b"" if self._encoder is None else self._encoder.finish()
        rest = self._framed(rest) if rest else b""
        return rest + b"0\r\n\r\n" if self.chunked else rest

    def _is_event_stream(self) -> bool:
        lines = [
            line.partition(b": ")[2]
            for name, line in self._plain.items()
            if name == b"content-type"
        ]
        if "responseHeaders" in self.__dict__:
            lines = list(self.responseHeaders.getRawHeaders(b"content-type", []))
        return any(line.lower().startswith(EVENT_STREAM) for line in lines)

    # The response on the wire.

    def _announce(self, length: int) -> None:
        """Say how long the body is, unless that has been said, or must not be."""
        if self.method == b"HEAD" or self.code in _BODILESS:
            return
        if "responseHeaders" not in self.__dict__:
            self._plain[b"content-length"] = b"Content-Length: %d\r\n" % length
            self._owed = length
        elif self.responseHeaders.getRawHeaders(b"content-length") is None:
            self.responseHeaders.setRawHeaders(b"content-length", [b"%d" % length])

    def _opening(self) -> bytes:
        """Write the head, and settle how the body is framed."""
        if self.lastModified is not None and not self._is_set(b"last-modified"):
            date = datetimeToString(self.lastModified)
            self.setHeader(b"last-modified", date)
        # What is refused here is forgotten first, or no error could be sent either.
        if self.etag is not None:
            etag, self.etag = self.etag, None
            self.setHeader(b"etag", etag)
            self.etag = etag
        cookies = self.__dict__.pop("cookies", None)
        if cookies:
            self.responseHeaders.setRawHeaders(b"set-cookie", cookies)
            self.cookies = cookies
        self._drops = self.method == b"HEAD" or self.code in _BODILESS
        made = self.__dict__
        if "responseHeaders" in made:
            lines = self._lines()
        else:
            plain = self._plain
            kind = self._default_type(empty=self._owed == 0)
            if kind is not None and b"content-type" not in plain:
                self.setHeader(b"content-type", kind)
            lines = b"".join(plain.values()) + self.channel.site.lines
        framing = b""
        if self._owed is None and not self._drops:
            if self.clientproto == b"HTTP/1.1":
                self.chunked = 1
                framing = b"Transfer-Encoding: chunked\r\n"
            else:
                self.channel.close_after()
        return b"".join(
            (
                self._status(),
                lines,
                self.greeting,
                framing,
                self.channel.said(self.clientproto),
                b"\r\n",
            )
        )

    def _status(self) -> bytes:
        code = self.code
        if self.code_message is _REASONS.get(code):
            return status_line(code)
        return b"HTTP/1.1 %d %b\r\n" % (code, one_line(self.code_message))

    def _default_type(self, *, empty: bool) -> bytes | None:
        """Give the type of a body for which the application has set none."""
        return None if empty or self.code in _BODILESS else self.defaultContentType

    def _is_set(self, name: bytes) -> bool:
        if "responseHeaders" in self.__dict__:
            return bool(self.responseHeaders.hasHeader(name))
        return name in self._plain

    def _lines(self) -> bytes:
        """Write the fields that were made into `Headers`; the framing is ours."""
        headers = self.responseHeaders
        length = headers.getRawHeaders(b"content-length")
        if length and not self._drops:
            if len(set(length)) > 1 or not length[0].isdigit():
                raise ValueError(f"no sensible Content-Length: {length!r}")
            self._owed = int(length[0])
        kind = self._default_type(empty=length is not None and length[0] == b"0")
        if kind is not None and headers.getRawHeaders(b"content-type") is None:
            headers.setRawHeaders(b"content-type", [kind])
        said = headers.getRawHeaders(b"connection", [])
        if b"close" in options([(b"connection", line) for line in said]):
            self.channel.close_after()
        return b"".join(
            b"%b: %b\r\n" % (name, one_line(value))
            for name, values in headers.getAllRawHeaders()
            for value in values
            if self._is_ours_to_write(name.lower())
        )

    def _is_ours_to_write(self, name: bytes) -> bool:
        if name == b"content-length":
            return self.code != 204  # noqa: PLR2004 - RFC 9110, section 8.6
        return name not in (b"connection", b"transfer-encoding") or self.code == 101  # noqa: PLR2004

    def _framed(self, data: bytes) -> bytes:
        self.sentLength += len(data)
        if self.chunked:
            return b"%x\r\n%b\r\n" % (len(data), data)
        if self._owed is not None:
            if len(data) > self._owed:
                raise ValueError("the body is longer than its Content-Length")
            self._owed -= len(data)
        return data

    def _end(self) -> None:
        """Leave the connection to the next request."""
        connection, self.channel = self.channel, None
        if self.producer is not None:
            self._log.error("a producer is still there at {uri}", uri=self.uri)
            self.producer = None
        self.drop_body()
        if "notifications" in self.__dict__:
            for waiting in self.__dict__.pop("notifications"):
                self.in_context(waiting.callback, None)
        if self._owed and not self._drops:
            self._log.error(
                "the response is shorter than its length: {uri}", uri=self.uri
            )
            connection.abortConnection()
        connection.response_ended(self.code, self.sentLength)

    def drop_body(self) -> None:
        """Throw the request's body away."""
        raise NotImplementedError
