"""Encoding of requests (in a worker): the head, and the body as it is produced."""

from collections.abc import Callable
from typing import Final, NamedTuple

from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IConsumer, IPushProducer
from twisted.python.failure import Failure
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from zope.interface import implementer

from clusterapp.errors import CoreBrokenError
from clusterapp.http.syntax.message_head import FRAMING, RequestHead, has_lines, options
from clusterapp.interfaces import Fields
from clusterapp.wording import counted

_SPACES_OF_REQUEST_LINE: Final = 2


class Encoded(NamedTuple):
    """
    The encoded head of a request.

    :param wire: its bytes.
    :param options: the options in its ``Connection`` lines, in lower case.
    """

    wire: bytes
    options: frozenset[bytes]


def encode(head: RequestHead, body: IBodyProducer | None) -> Encoded:
    """
    Encode a request's head: target and fields unchanged, framing fields replaced.

    The framing fields are replaced by the one for `body`.  Without a body there is
    none, except that a ``Content-Length: 0`` is kept.

    :raise ValueError: for a head that contains a line break or a NUL, or whose request
        line does not have three words: it would be parsed as something else.
    """
    lines = [b"%b %b HTTP/1.1\r\n" % (head.method, head.target)]
    framing = b""
    connection = []
    for field in head.fields:
        name = field[0].lower()
        if name not in FRAMING:
            lines.append(b"%b: %b\r\n" % field)
            if name == b"connection":
                connection.append(field)
        elif name == b"content-length" and field[1] == b"0":
            framing = b"Content-Length: 0\r\n"
    if body is not None:
        framing = _framing(body)
    if framing:
        lines.append(framing)
    lines.append(b"\r\n")
    wire = b"".join(lines)
    if (
        not has_lines(wire, len(lines))
        or not (head.method and head.target)
        or lines[0].count(b" ") != _SPACES_OF_REQUEST_LINE
    ):
        raise ValueError(f"no valid request: {head.method!r} {head.target!r}")
    return Encoded(wire, options(connection))


def _framing(body: IBodyProducer) -> bytes:
    if body.length == UNKNOWN_LENGTH:
        return b"Transfer-Encoding: chunked\r\n"
    return b"Content-Length: %d\r\n" % body.length


@implementer(IPushProducer)
class BodySender:
    """
    Sends one request's body with the transport's backpressure.

    It stands between the transport and the producer of the body: a consumer for the
    producer, a producer for the transport.  So the transport's calls reach the producer
    only between its start and its end, and it is stopped once.

    :param transport: the transport; it must have no other producer.
    :param body: the producer; its ``trailers`` (fields), if any, are sent after a body
        of unknown length.
    :param ended: called once unless :meth:`stopProducing` comes first: with None when
        the complete body is written, else with the failure.
    """

    __slots__ = ("_body", "_chunked", "_ended", "_left", "_producing", "_transport")

    def __init__(
        self,
        transport: IConsumer,
        body: IBodyProducer,
        ended: Callable[[Failure | None], None],
    ) -> None:
        self._transport = transport
        self._body = body
        self._ended = ended
        self._chunked = body.length == UNKNOWN_LENGTH
        self._left = 0 if self._chunked else int(body.length)
        self._producing = False

    def start(self) -> None:
        """Start sending; the head has been written."""
        self._producing = True
        self._transport.registerProducer(self, True)
        sending = maybeDeferred(self._body.startProducing, self)
        sending.addCallbacks(self._finished, self._failed)

    # Called by the transport.

    def pauseProducing(self) -> None:
        """Called when the transport's buffer is full: pause the producer."""
        if self._producing:
            self._body.pauseProducing()

    def resumeProducing(self) -> None:
        """Called when the transport's buffer has drained: resume the producer."""
        if self._producing:
            self._body.resumeProducing()

    def stopProducing(self) -> None:
        """Stop the producer: the rest is not wanted.  Does nothing after the end."""
        if self._producing:
            self._leave()
            self._body.stopProducing()

    # Called by the producer of the body, whose consumer this is.

    def write(self, data: bytes) -> None:
        """Send a piece of the body; none is sent after the end."""
        if not self._producing:
            return
        if self._chunked:
            self._write_chunk(data)
        elif len(data) > self._left:
            self.stopProducing()
            self._ended(_wrong_length("too long"))
        else:
            self._left -= len(data)
            self._transport.write(data)

    def _write_chunk(self, data: bytes) -> None:
        # An empty chunk would end the body.
        if data:
            self._transport.write(b"%x\r\n%b\r\n" % (len(data), data))

    def _finished(self, _: object) -> None:
        if not self._producing:
            return
        self._leave()
        if self._left:
            self._ended(_wrong_length(f"{counted(self._left, 'byte')} short"))
        elif self._chunked:
            self._finish_chunks(getattr(self._body, "trailers", ()))
        else:
            self._ended(None)

    def _finish_chunks(self, trailers: Fields) -> None:
        lines = [b"0\r\n"]
        lines += [
            b"%b: %b\r\n" % field
            for field in trailers
            if field[0].lower() not in FRAMING
        ]
        lines.append(b"\r\n")
        wire = b"".join(lines)
        if not has_lines(wire, len(lines)):
            self._ended(Failure(ValueError(f"no valid trailers: {trailers!r}")))
            return
        self._transport.write(wire)
        self._ended(None)

    def _failed(self, failure: Failure) -> None:
        if self._producing:
            self._leave()
            self._ended(failure)

    def _leave(self) -> None:
        self._producing = False
        self._transport.unregisterProducer()


def _wrong_length(how: str) -> Failure:
    return Failure(CoreBrokenError(f"the body of the request is {how}"))
