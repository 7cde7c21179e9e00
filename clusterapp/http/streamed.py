"""The `Exchange` of a twisted.web connection."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IProtocol, IPushProducer
from twisted.python.failure import Failure

from clusterapp.http.framing import Framing, encode, one_line
from clusterapp.http.incoming import IncomingBody, Source
from clusterapp.http.messages import ResponseHead, end_to_end, options, values
from clusterapp.interfaces import Fields

#: How much of a body that nobody wants is read for the sake of the connection.
DISCARD_LIMIT = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Incoming:
    """What a connection knows of a request when its head is complete."""

    method: bytes
    target: bytes
    version: bytes
    fields: Fields
    length: int | None
    peer: IAddress
    secure: bool


class Wire(Source, Protocol):
    """What an exchange asks of its connection."""

    def will_close(self) -> bool:
        """Whether the connection ends with this response."""

    def close_after(self) -> None:
        """Let the connection end with this response."""

    def send(self, pieces: list[bytes]) -> None:
        """Write to the client."""

    def produce(self, producer: IPushProducer | None) -> None:
        """Let this producer, or none, follow how fast the client reads."""

    def answered(self) -> None:
        """Know that the response is complete, and the request's body too."""

    def discard(self) -> None:
        """Read the rest of the request's body, for a bounded time."""

    def linger(self) -> None:
        """Close after what was written, so that the client can read it."""

    def cut(self) -> None:
        """Close at once, so that the client sees a broken connection."""

    def hand_over(self, protocol: IProtocol) -> None:
        """Give the raw stream to a protocol."""


class StreamedExchange:
    """
    One request and its response; see `clusterapp.http.exchange.Exchange`.

    :param incoming: the request's head.
    :param wire: the connection.
    """

    def __init__(self, incoming: Incoming, wire: Wire) -> None:
        self.method = incoming.method
        self.target = incoming.target
        self.version = incoming.version
        self.fields = incoming.fields
        self.length = incoming.length
        self.peer = incoming.peer
        self.secure = incoming.secure
        self.body = IncomingBody(incoming.length, wire)
        self.gone: Deferred[None] = Deferred()
        self._wire = wire
        self._framing: Framing | None = None
        self._finished = False
        self._lost = False
        self._received = 0
        self._discarded: int | None = None
        self._may_withhold_body = self.length != 0 and any(
            value.lower() == b"100-continue" for value in values(self.fields, b"expect")
        )

    @property
    def wants_upgrade(self) -> bool:
        """Whether the client asks to speak WebSocket."""
        return (
            self.version == b"HTTP/1.1"
            and self.length == 0
            and b"upgrade" in options(self.fields)
            and [v.lower() for v in values(self.fields, b"upgrade")] == [b"websocket"]
        )

    @property
    def responded(self) -> bool:
        """Whether the response's head has been sent."""
        return self._framing is not None

    # What the forwarder calls.

    def interim(self, head: ResponseHead) -> None:
        """Send a 1xx response."""
        opening = encode(head)
        if self._lost or self.responded or self.version != b"HTTP/1.1":
            return
        if head.status == HTTPStatus.CONTINUE:
            self._may_withhold_body = False
        self._wire.send([opening])

    def respond(self, head: ResponseHead) -> None:
        """Begin the response."""
        if self._lost:
            return
        if self._finished or self.responded:
            raise RuntimeError("the response has begun before")
        framing = Framing(self.method, self.version, head)
        # Without a 100 the client may send its body or not, and the bytes
        # would not tell: such a connection cannot be used again.
        withheld = self._may_withhold_body and not self._received
        closing = self._wire.will_close() or withheld
        opening = framing.opening(closing=closing)
        self._framing = framing
        if closing:
            self._wire.close_after()
        self._wire.send([opening])

    def write(self, body: bytes) -> None:
        """Send a piece of the response's body."""
        if self._framing is not None and not self._lost:
            self._wire.send(self._framing.piece(body))

    def finish(self, trailers: Fields = ()) -> None:
        """End the response."""
        if self._lost or self._finished or self._framing is None:
            return
        if self._framing.owed:
            self.abort()
            return
        ending = self._framing.ending(trailers)
        self._end()
        self._wire.send([ending] if ending else [])
        self._settle()

    def abort(self) -> None:
        """Break the response off."""
        if not (self._lost or self._finished):
            self.break_off()
            self._end()

    def register(self, producer: IPushProducer) -> None:
        """Pause and resume the producer as the client reads."""
        if not self._lost:
            self._wire.produce(producer)

    def unregister(self) -> None:
        """Forget the producer."""
        if not self._lost:
            self._wire.produce(None)

    def upgrade(self, protocol: IProtocol) -> None:
        """Connect a protocol to the raw stream."""
        if not self._lost:
            self._end()
            self._wire.hand_over(protocol)

    # What the connection calls.

    def received(self, piece: bytes) -> None:
        """Take a piece of the request's body."""
        self._received += len(piece)
        if self._discarded is None:
            self.body.received(piece)
            return
        self._discarded += len(piece)
        if self._discarded > DISCARD_LIMIT:
            self._wire.linger()

    def complete(self, trailer_lines: list[bytes]) -> None:
        """
        Know that the request's body has ended.

        :raises ValueError: if the trailers are not header fields.
        """
        self.body.ended(end_to_end([_field(line) for line in trailer_lines]))
        if self._finished:
            self._wire.answered()

    def break_off(self) -> None:
        """Close the connection so that the client sees what is incomplete."""
        framing = self._framing
        # A framed body is visibly incomplete without its end, and what was
        # sent can still be read; any other must not end like a whole one.
        if framing is None or (framing.until_close and not self._finished):
            self._wire.cut()
        else:
            self._wire.linger()

    def lose(self, reason: Failure) -> None:
        """Know that the connection is lost."""
        if self._lost:
            return
        self._lost = True
        if not self._finished:
            self.gone.callback(None)
        self.body.broken(reason)

    def _end(self) -> None:
        self._wire.produce(None)
        self._finished = True

    def _settle(self) -> None:
        if self.body.complete:
            self._wire.answered()
        elif self.length != 0 and (self._wire.will_close() or self._rest_is_long()):
            self._wire.linger()
        else:
            self._discarded = 0
            self.body.stopProducing()
            self._wire.discard()

    def _rest_is_long(self) -> bool:
        return self.length is not None and self.length - self._received > DISCARD_LIMIT


def _field(line: bytes) -> tuple[bytes, bytes]:
    name, colon, value = one_line(line).partition(b":")
    if not colon or not name or name != name.strip():
        raise ValueError(f"not a trailer field: {line!r}")
    return name, value.strip(b" \t")
