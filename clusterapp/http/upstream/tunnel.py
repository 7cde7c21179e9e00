"""A proxied WebSocket: two raw streams, bridged."""

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from clusterapp.http.websocket.frame_boundaries import FrameBoundaries, IFramedOutput


def bridge(near: Callable[[IProtocol], None], far: Callable[[IProtocol], None]) -> None:
    """
    Bridge two streams with backpressure; the end of either ends both.

    :param near: connects a protocol to the client's stream.
    :param far: connects a protocol to the upstream stream.
    """
    left, right = Tunnel(), _BridgeEnd()
    left.other, right.other = right, left
    near(left)
    far(right)


class _BridgeEnd(Protocol):
    """One of the two ends of a bridge."""

    other: "_BridgeEnd"
    #: A socket's transport: a consumer, and a push producer as well.
    transport: Any = None

    def __init__(self) -> None:
        self._buffered: list[bytes] = []

    def connectionMade(self) -> None:
        """Called when a stream is connected; bridge the streams once both are."""
        if self.other.transport is None:
            return
        self.transport.registerProducer(self.other.transport, True)
        self.other.transport.registerProducer(self.transport, True)
        buffered, self._buffered = self._buffered, []
        self.transport.writeSequence(buffered)

    def dataReceived(self, data: bytes) -> None:
        """Called with received bytes: write them to the other end."""
        self.other.take(data)

    def take(self, data: bytes) -> None:
        """Write bytes that were received by the other end."""
        if self.transport is None:
            self._buffered.append(data)
        else:
            self.transport.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002
        """Close the other end, after its pending writes."""
        if self.other.transport is not None:
            self.other.transport.unregisterProducer()
            self.other.transport.loseConnection()


@implementer(IFramedOutput)
class Tunnel(_BridgeEnd):
    """The client's end, which tracks the boundaries of WebSocket frames."""

    def __init__(self) -> None:
        super().__init__()
        self._frames = FrameBoundaries()
        self._last: tuple[bytes, Callable[[], None]] | None = None
        self._is_mute = False

    def take(self, data: bytes) -> None:
        """Write bytes that were received by the other end."""
        if self._is_mute:
            return
        if self._last is None:
            self._frames.feed(data)
            super().take(data)
        else:
            super().take(data[: self._frames.feed_one(data)])
            self._end_between_frames(*self._last)

    @property
    def between_frames(self) -> bool:
        """
        Whether a frame may be written now: none is incomplete, nor was the last one
        sent.
        """
        return self._frames.between and self._last is None

    def end_with(self, data: bytes, then: Callable[[], None]) -> None:
        """
        Write a last frame after the current one, and nothing after it.

        :param data: the frame.
        :param then: called when it has been written.
        """
        if self._last is None:
            self._last = data, then
            self._end_between_frames(data, then)

    def _end_between_frames(self, data: bytes, then: Callable[[], None]) -> None:
        if self._frames.between:
            self._is_mute = True
            super().take(data)
            then()
