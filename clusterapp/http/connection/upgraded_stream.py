"""Input stream of an upgraded connection: passes bytes to its protocol, bounded."""

from typing import TYPE_CHECKING, Any, Protocol

from clusterapp.http.server.request_context import unwrapped
from clusterapp.http.websocket.frames import (
    FRAMES_AT_ONCE,
    ClientFrames,
    FramingError,
)

if TYPE_CHECKING:
    from twisted.internet.interfaces import IProtocol
    from twisted.python.failure import Failure


class StreamUpgrade(Protocol):
    """The upgrade of the connection that the bytes are received on."""

    def pause_reading(self) -> None:
        """Pause reading from the client."""

    def resume_reading(self) -> None:
        """Resume reading from the client."""

    def read_on_soon(self) -> None:
        """Schedule a call of `Upgraded.go_on` in the next turn of the event loop."""

    def share(self, most: int) -> int:
        """Return this connection's share of the work allowed per event-loop turn."""

    def input_ended(self) -> None:
        """Called once the peer has closed its side and all its bytes are passed on."""

    def fail_framing(self, error: FramingError) -> None:
        """Called on an invalid frame of a client: fail the WebSocket connection."""


class Upgraded:
    """
    Input stream of an upgraded connection: passes the client's bytes to a protocol.

    While the write buffer is full, or the protocol has paused its transport, nothing
    is passed on and reading is paused. In one turn of the event loop a bounded part of
    the pending input is passed on.

    :param upgrade: the upgrade of the connection.
    :param protocol: the protocol.
    :param stream: the buffer of the pending input, which splits it for the protocol.
    :param is_full: whether the write buffer is full.
    """

    __slots__ = (
        "_has_ended",
        "_is_full",
        "_is_over",
        "_is_paused",
        "_is_scheduled",
        "_stream",
        "_upgrade",
        "protocol",
    )

    def __init__(
        self,
        upgrade: StreamUpgrade,
        protocol: "IProtocol",
        stream: "ClientFrames | RawBytes",
        *,
        is_full: bool,
    ) -> None:
        self.protocol = protocol
        self._upgrade = upgrade
        self._stream = stream
        self._is_full = is_full
        self._is_paused = False
        self._is_scheduled = False
        self._has_ended = False
        self._is_over = False

    @property
    def described(self) -> str:
        """What the connection is doing, for the log."""
        name = type(unwrapped(self.protocol)).__name__
        return f"serve an upgraded connection by {name}"

    @property
    def waiting(self) -> bool:
        """Whether there is pending input, not passed on yet."""
        return self._stream.waiting

    # Called by the connection.

    def feed(self, data: bytes) -> None:
        """Add bytes to the pending input, for `go_on`."""
        self._stream.feed(data)

    def received(self, data: bytes) -> None:
        """Called with bytes that the client has sent: pass them on."""
        self._stream.feed(data)
        if not self._is_scheduled:
            self.go_on()

    def go_on(self) -> None:
        """Pass on the part of the pending input allowed in this event-loop turn."""
        self._is_scheduled = False
        stream = self._stream
        if not (self._is_full or self._is_paused or self._is_over):
            try:
                data = stream.take(self._upgrade.share(FRAMES_AT_ONCE))
            except FramingError as error:
                self._is_over = True
                self._upgrade.fail_framing(error)
                return
            if data:
                if isinstance(stream, ClientFrames) and stream.compressed:
                    bound_inflation(self.protocol, stream.most)
                self.protocol.dataReceived(data)
            if stream.more:
                self.schedule()
            elif self._has_ended and not (self._is_full or self._is_paused):
                self._upgrade.input_ended()
        self._set_reading()

    def schedule(self) -> None:
        """Schedule passing on more in the next turn of the event loop."""
        if not (self._is_scheduled or self._is_over):
            self._is_scheduled = True
            self._upgrade.read_on_soon()

    def full(self, is_full: bool) -> None:
        """Called when the write buffer is full, or has drained."""
        self._is_full = is_full
        self._turn()

    def pause(self) -> None:
        """Called when the protocol has paused its transport: pass nothing on."""
        self._is_paused = True
        self._turn()

    def resume(self) -> None:
        """Called when the protocol has resumed its transport."""
        self._is_paused = False
        self._turn()

    def ended(self) -> None:
        """Called when the peer has closed its side of the connection."""
        self._has_ended = True
        self.schedule()

    def close(self) -> None:
        """Pass nothing on any more, and leave reading to the connection."""
        self._is_over = True

    def lost(self, reason: "Failure") -> None:
        """Called when the connection is lost: call the protocol's connectionLost."""
        self._is_over = True
        self.protocol.connectionLost(reason)

    def _turn(self) -> None:
        # Scheduled rather than done at once, since the protocol may be the caller and
        # must not be re-entered.
        waiting = self._stream.waiting or self._has_ended
        if waiting and not (self._is_full or self._is_paused):
            self.schedule()
        self._set_reading()

    def _set_reading(self) -> None:
        if self._is_over:
            return
        if self._is_full or self._is_paused or self._is_scheduled:
            self._upgrade.pause_reading()
        else:
            self._upgrade.resume_reading()


class RawBytes:
    """
    The pending input of an unknown protocol, passed on as it is received.

    :ivar more: whether `take` leaves more for the next turn; always False.
    """

    more = False

    def __init__(self) -> None:
        self._pending_input = b""

    @property
    def waiting(self) -> bool:
        """Whether there is pending input."""
        return bool(self._pending_input)

    def feed(self, data: bytes) -> None:
        """Add bytes to the pending input."""
        self._pending_input = (
            self._pending_input + data if self._pending_input else data
        )

    def take(self, _most_frames: int) -> bytes:
        """Return and remove all pending input."""
        held, self._pending_input = self._pending_input, b""
        return held


def bound_inflation(protocol: Any, most: int) -> None:
    """
    Bound the size of messages that an autobahn protocol inflates, if it is unbounded.

    The protocol's option bounds sent messages as well, so it is set only when a client
    sends compressed messages, as negotiated with the application.

    :param protocol: any protocol.
    :param most: the maximum message size in bytes.
    """
    if getattr(protocol, "maxMessagePayloadSize", None) == 0:
        protocol.maxMessagePayloadSize = most
