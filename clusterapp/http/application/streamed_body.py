"""A request's body for a handler that reads it while it comes."""

from collections import deque
from collections.abc import AsyncIterator

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IConsumer, IProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from clusterapp.http.exchange.request_body import IncomingBody


class StreamedBody(IncomingBody):
    """
    A body that is read from the client only as fast as it is wanted.

    In a coroutine: ``async for piece in request.body``. A piece is some bytes, at
    least one; the loop raises what broke the connection if that happens first. A
    consumer may take the body by `startProducing` instead. Once, either way.
    """

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _pieces(self)


async def _pieces(body: StreamedBody) -> AsyncIterator[bytes]:
    queue = _Queue(body)
    body.startProducing(queue).addCallbacks(queue.end, queue.break_off)
    while True:
        piece = await queue.next()
        if not piece:
            return
        yield piece


@implementer(IConsumer)
class _Queue:
    """The pieces that have come and have not been taken."""

    def __init__(self, body: StreamedBody) -> None:
        self._body = body
        self._pieces: deque[bytes] = deque()
        self._waiting: Deferred[bytes] | None = None
        self._reason: Failure | None = None
        self._ended = False

    def next(self) -> Deferred[bytes]:
        """Give the next piece when it comes; nothing is the end."""
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
        """Take a piece, and no more until it is wanted."""
        self._body.pauseProducing()
        if data:
            self._pieces.append(data)
            self._settle()

    def end(self, _: None) -> None:
        """Know that the body is whole."""
        self._ended = True
        self._settle()

    def break_off(self, reason: Failure) -> None:
        """Know that the rest will not come."""
        self._reason = reason
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.errback(reason)

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Need no producer: the body is known."""

    def unregisterProducer(self) -> None:
        """Need no producer."""

    def _settle(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(self._pieces.popleft() if self._pieces else b"")
