"""What comes in on a connection that has left HTTP, on its way to a protocol."""

from typing import TYPE_CHECKING, Any, Protocol

from clusterapp.http.syntax.websocket_frames import (
    FRAMES_AT_ONCE,
    ClientFrames,
    FramingError,
)

if TYPE_CHECKING:
    from twisted.internet.interfaces import IProtocol
    from twisted.python.failure import Failure


class Source(Protocol):
    """The connection that the bytes come from."""

    def pause_reading(self) -> None:
        """Read nothing more from the client."""

    def resume_reading(self) -> None:
        """Read on."""

    def read_on_soon(self) -> None:
        """Call `Upgraded.go_on` in the next turn of the event loop."""

    def share(self, most: int) -> int:
        """Return how much to do in this turn of what is bounded in each."""

    def input_ended(self) -> None:
        """Called once when the client has ended its side and all is passed on."""

    def break_rules(self, error: FramingError) -> None:
        """Fail a WebSocket whose client breaks the protocol."""


class Upgraded:
    """
    Passes what a client sends to the protocol that has its connection.

    Nothing is passed on while the client takes nothing of what was written to it, or
    while the protocol has paused its transport; nothing is read then. In one turn of
    the event loop a bounded part of what has come is passed on.

    :param source: the connection.
    :param protocol: the protocol.
    :param stream: what has come, in pieces for the protocol.
    :param is_full: whether too much waits to be written to the client.
    """

    __slots__ = (
        "_has_ended",
        "_is_full",
        "_is_over",
        "_is_paused",
        "_is_scheduled",
        "_source",
        "_stream",
        "protocol",
    )

    def __init__(
        self,
        source: Source,
        protocol: "IProtocol",
        stream: "ClientFrames | RawBytes",
        *,
        is_full: bool,
    ) -> None:
        self.protocol = protocol
        self._source = source
        self._stream = stream
        self._is_full = is_full
        self._is_paused = False
        self._is_scheduled = False
        self._has_ended = False
        self._is_over = False

    @property
    def waiting(self) -> bool:
        """Whether some of what has come is still to be passed on."""
        return self._stream.waiting

    # What the connection calls.

    def feed(self, data: bytes) -> None:
        """Take bytes from the client, and keep them for `go_on`."""
        self._stream.feed(data)

    def received(self, data: bytes) -> None:
        """Take bytes from the client, and pass them on."""
        self._stream.feed(data)
        if not self._is_scheduled:
            self.go_on()

    def go_on(self) -> None:
        """Pass on what may be passed on in this turn of the event loop."""
        self._is_scheduled = False
        stream = self._stream
        if not (self._is_full or self._is_paused or self._is_over):
            try:
                data = stream.take(self._source.share(FRAMES_AT_ONCE))
            except FramingError as error:
                self._is_over = True
                self._source.break_rules(error)
                return
            if data:
                if isinstance(stream, ClientFrames) and stream.compressed:
                    bound_inflation(self.protocol, stream.most)
                self.protocol.dataReceived(data)
            if stream.more:
                self.schedule()
            elif self._has_ended and not (self._is_full or self._is_paused):
                self._source.input_ended()
        self._set_reading()

    def schedule(self) -> None:
        """Go on in the next turn of the event loop."""
        if not (self._is_scheduled or self._is_over):
            self._is_scheduled = True
            self._source.read_on_soon()

    def full(self, is_full: bool) -> None:
        """Know whether too much waits to be written to the client."""
        self._is_full = is_full
        self._turn()

    def pause(self) -> None:
        """Pass nothing on: the protocol has paused its transport."""
        self._is_paused = True
        self._turn()

    def resume(self) -> None:
        """Go on: the protocol has resumed its transport."""
        self._is_paused = False
        self._turn()

    def ended(self) -> None:
        """Know that the client has ended its side of the connection."""
        self._has_ended = True
        self.schedule()

    def lost(self, reason: "Failure") -> None:
        """Tell the protocol of the end of its connection."""
        self._is_over = True
        self.protocol.connectionLost(reason)

    def _turn(self) -> None:
        # Not at once: the protocol may be the caller, and in the middle of something.
        waiting = self._stream.waiting or self._has_ended
        if waiting and not (self._is_full or self._is_paused):
            self.schedule()
        self._set_reading()

    def _set_reading(self) -> None:
        if self._is_over:
            return
        if self._is_full or self._is_paused or self._is_scheduled:
            self._source.pause_reading()
        else:
            self._source.resume_reading()


class RawBytes:
    """
    The bytes of a protocol of which nothing is known.

    :ivar more: nothing is ever left by `take`.
    """

    more = False

    def __init__(self) -> None:
        self._pending_input = b""

    @property
    def waiting(self) -> bool:
        """Whether bytes are held."""
        return bool(self._pending_input)

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        self._pending_input = (
            self._pending_input + data if self._pending_input else data
        )

    def take(self, _most_frames: int) -> bytes:
        """Return what has come."""
        held, self._pending_input = self._pending_input, b""
        return held


def bound_inflation(protocol: Any, most: int) -> None:
    """
    Bound the messages that a protocol of autobahn's inflates, if nothing else does.

    Its option bounds what is sent as well, so it is set only where a client sends
    compressed messages, as an application has agreed to.

    :param protocol: any protocol.
    :param most: the longest message, in bytes.
    """
    if getattr(protocol, "maxMessagePayloadSize", None) == 0:
        protocol.maxMessagePayloadSize = most
