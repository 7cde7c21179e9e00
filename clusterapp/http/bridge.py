"""Two raw streams, joined: what a WebSocket is to a proxy."""

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure


def bridge(near: Callable[[IProtocol], None], far: Callable[[IProtocol], None]) -> None:
    """
    Join two streams, each as slow as the other; the end of one ends both.

    :param near: connects a protocol to the one stream.
    :param far: connects a protocol to the other.
    """
    left, right = _End(), _End()
    left.other, right.other = right, left
    near(left)
    far(right)


class _End(Protocol):
    """One of the two ends."""

    other: "_End"
    #: A socket's transport: it consumes, and is a push producer too.
    transport: Any = None

    def __init__(self) -> None:
        self.early: list[bytes] = []

    def connectionMade(self) -> None:
        """Join the streams once both are there."""
        if self.other.transport is None:
            return
        self.transport.registerProducer(self.other.transport, True)
        self.other.transport.registerProducer(self.transport, True)
        self.transport.writeSequence(self.other.early)

    def dataReceived(self, data: bytes) -> None:
        """Pass on what came."""
        if self.other.transport is None:
            self.early.append(data)
        else:
            self.other.transport.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002
        """Close the other end, after what was written to it."""
        if self.other.transport is not None:
            self.other.transport.unregisterProducer()
            self.other.transport.loseConnection()
