"""The body of a response: writing, framing and finishing it."""

from typing import Any, Final

from twisted.python.failure import Failure

from clusterapp.http.application.response_head import BODILESS, REASONS, HeadWriter
from clusterapp.http.server.request_facts import handler_of
from clusterapp.http.syntax.response_framing import InvalidResponseError
from clusterapp.http.syntax.status_line import status_line
from clusterapp.wording import counted

#: The media type of Server-Sent Events: browsers reconnect by themselves (HTML, section
#: 9.2).
EVENT_STREAM: Final = b"text/event-stream"
_DEFAULT_TYPE: Final = b"Content-Type: text/html\r\n"


#: Attributes whose presence on a request excludes the fast path for its response.
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


class ResponseWriter(HeadWriter):
    """The response methods of a `ClusterRequest`."""

    #: Whether a HEAD is being rendered as a GET.
    _inFakeHead = False
    #: Encodes the body, such as with gzip.
    _encoder: Any = None

    def respond(self, body: bytes) -> None:
        """
        Send the complete body, or the rest of it, and finish the response.

        Like `write` and then `finish`, but a response that begins here gets a
        Content-Length; does nothing if the client has gone.

        If the body's length differs from a Content-Length that was set, an error is
        sent instead: see `processingFailed`.

        :raises RuntimeError: if the response is finished.
        """
        if (
            _UNUSUAL.isdisjoint(self.__dict__)
            and self.method != b"HEAD"
            and self.clientproto == b"HTTP/1.1"
            and self.code not in BODILESS
        ):
            try:
                self._respond_at_once(body)
            except InvalidResponseError:
                self._give_up()
            return
        if (
            self.startedWriting
            or self._encoder is not None
            or self._announce(len(body))
        ):
            self.write(body)
        if not (self.finished or self._disconnected):
            self.finish()

    def _respond_at_once(self, body: bytes) -> None:
        """Send a complete response in one write (the fast path)."""
        plain = self._plain
        connection = self.channel
        code = self.code
        length = len(body)
        response = b"".join(
            (
                status_line(code)
                if self.code_message is REASONS.get(code)
                else self._status(),
                *plain.values(),
                _DEFAULT_TYPE if body and b"content-type" not in plain else b"",
                b"Content-Length: %d\r\n" % length,
                connection.site.lines,
                self.extra_header_lines,
                connection.connection_header(b"HTTP/1.1"),
                b"\r\n",
                body,
            )
        )
        # Before the write, in which a producer may be paused, and may fail or write.
        self.sentLength = length
        self.startedWriting = self.finished = 1
        connection.write(response)
        self.channel = None
        connection.response_ended(code, length)

    def write(self, data: bytes) -> None:
        """
        Send a piece of the body, preceded by the head if it is the first.

        An invalid head, or a body that exceeds its Content-Length, is not sent, but
        ends the response: see `processingFailed`.

        :raises RuntimeError: if the response is finished, and may have a body.
        """
        if self.finished and not (self._drops or self._given_up):
            raise RuntimeError("write was called after finish")
        if self.finished or self._disconnected or self._inFakeHead:
            return
        opening = b""
        if not self.startedWriting:
            try:
                if self._encoder is not None:
                    self.responseHeaders.removeHeader(b"content-length")
                opening = self._opening()
            except Exception:  # noqa: BLE001 - whatever it is, an answer is due
                self._give_up()
                return
        if self._encoder is not None:
            data = self._encoder.encode(data)
        if data and not self._drops:
            if self._owed is not None and len(data) > self._owed:
                self._give_up(
                    f"its body is {counted(len(data) - self._owed, 'byte')} longer"
                )
                return
            opening += self._framed(data)
        # Before the write, in which a producer may be paused, and may fail or write.
        self.startedWriting = 1
        if opening:
            self.channel.write(opening)

    def finish(self) -> None:
        """
        Finish the response.

        A body that is shorter than its Content-Length is an error: see
        `processingFailed`.

        :raises RuntimeError: if the client has gone; see `notifyFinish`.
        """
        if self._given_up:
            return
        if self._disconnected or self.finished:
            self._finish_again()
            return
        if self._inFakeHead:
            return  # `render` finishes the response to a HEAD that it renders as a GET
        if self._encoder is not None:
            encoder, self._encoder = self._encoder, None
            if not self.startedWriting:
                self.responseHeaders.removeHeader(b"content-length")
            self.write(encoder.finish())
        if not self.startedWriting and self._announce(0):
            self.write(b"")
        if self._given_up:
            return
        if self._owed and not self._drops:
            self._give_up(f"its body is {counted(self._owed, 'byte')} shorter")
            return
        self.finished = 1
        if self.chunked:
            self.channel.write(b"0\r\n\r\n")
        self._end()

    def _finish_again(self) -> None:
        if self._disconnected:
            raise client_has_gone()
        super().finish()  # warns

    def _give_up(self, wrong_length: str = "") -> None:
        """
        End an invalid response in place of the application.

        :param wrong_length: how the body's length is wrong; if empty, the exception
            that is being handled is the reason.
        """
        if wrong_length:
            error = InvalidResponseError(f"{wrong_length} than its Content-Length")
            why = Failure(error)
        else:
            why = Failure()
        handler = self.routed and handler_of(*self.routed, self._head.method)
        if handler and why.value is not None:
            # The traceback does not contain the handler: it has returned.
            why.value.add_note(f"The handler is {handler}.")
        self.processingFailed(why)

    def abort_response(self) -> None:
        """Close the connection, so that the client detects the incomplete response."""
        if self.channel is not None:
            self._given_up = True
            self.channel.abort_response(self)

    def unregisterProducer(self) -> None:
        """Unregister the producer."""
        if self.channel is not None:
            self.channel.unregisterProducer()
        self.producer = None

    def ending(self) -> bytes | None:
        """
        Return the bytes that end an event stream, which is complete at any event; or
        None.
        """
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

    def _announce(self, length: int) -> bool:
        """
        Set the Content-Length, unless it has been set, or is not allowed.

        :return: False if it was set to another length; the response has ended then.
        """
        if self.method == b"HEAD" or self.code in BODILESS:
            return True
        if "responseHeaders" not in self.__dict__:
            self._plain[b"content-length"] = b"Content-Length: %d\r\n" % length
            self._owed = length
            return True
        declared = self.responseHeaders.getRawHeaders(b"content-length")
        if declared is None:
            self.responseHeaders.setRawHeaders(b"content-length", [b"%d" % length])
        elif declared[0].isdigit() and int(declared[0]) != length:
            more = length - int(declared[0])
            self._give_up(
                f"its body is {counted(abs(more), 'byte')}"
                f" {'longer' if more > 0 else 'shorter'}"
            )
            return False
        return True

    def _framed(self, data: bytes) -> bytes:
        self.sentLength += len(data)
        if self.chunked:
            return b"%x\r\n%b\r\n" % (len(data), data)
        if self._owed is not None:
            self._owed -= len(data)
        return data

    def _end(self) -> None:
        """Release the connection for the next request."""
        connection, self.channel = self.channel, None
        if self.producer is not None:
            self._failures.error(
                "a producer is still registered at {uri}", uri=self.uri
            )
            self.producer = None
        self.drop_body()
        if "notifications" in self.__dict__:
            for waiting in self.__dict__.pop("notifications"):
                self.in_context(waiting.callback, None)
        connection.response_ended(self.code, self.sentLength)

    def drop_body(self) -> None:
        """Discard the request's body."""
        raise NotImplementedError


def client_has_gone() -> RuntimeError:
    """Return the error of a response that is finished after the client has gone."""
    return RuntimeError(
        "Request.finish called on a request after its connection was lost; "
        "use Request.notifyFinish to keep track of this."
    )
