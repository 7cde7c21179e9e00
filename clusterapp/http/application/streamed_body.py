"""A request's body for a handler that reads it while it is received."""

from collections import deque
from collections.abc import AsyncIterator

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IConsumer, IProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from clusterapp.http.exchange.request_body import IncomingBody


class StreamedBody(IncomingBody):
    """
    A body that is read from the client with backpressure.

    In a coroutine: ``async for piece in request.body``. A piece has at least one byte;
    the loop raises the reason if the connection breaks first. A consumer may receive
    the body by `startProducing` instead. The body can be read once, either way.
    """

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _pieces(self)


async def _pieces(body: StreamedBody) -> AsyncIterator[bytes]:
    queue = _PieceQueue(body)
    body.startProducing(queue).addCallbacks(queue.end, queue.break_off)
    while True:
        piece = await queue.next()
        if not piece:
            return
        yield piece


@implementer(IConsumer)
class _PieceQueue:
    """The received pieces that have not been consumed."""

    def __init__(self, body: StreamedBody) -> None:
        self._body = body
        self._pieces: deque[bytes] = deque()
        self._waiting: Deferred[bytes] | None = None
        self._reason: Failure | None = None
        self._ended = False

    def next(self) -> Deferred[bytes]:
        """Return the next piece when it is received; empty at the end."""
        if self._pieces:
            return succeed(self._pieces.popleft())
        if self._ended:
            return succeed(b"")
        waiting: Deferred[bytes] = Deferred()
        if self._reason is not None:
            waiting.errback(self._reason)
        else:
            self._waiting = waiting
            self._body.resumeProducing()
        return waiting

    def write(self, data: bytes) -> None:
        """Add a piece, and pause reading until the next one is requested."""
        self._body.pauseProducing()
        if data:
            self._pieces.append(data)
            self._settle()

    def end(self, _: None) -> None:
        """Called when the body is complete."""
        self._ended = True
        self._settle()

    def break_off(self, reason: Failure) -> None:
        """Called when the connection has broken before the end of the body."""
        self._reason = reason
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.errback(reason)

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Do nothing: the producer is the body."""

    def unregisterProducer(self) -> None:
        """Do nothing."""

    def _settle(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(self._pieces.popleft() if self._pieces else b"")
