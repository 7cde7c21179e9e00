"""A request's body on its way from the client's socket to who reads it."""

from collections import deque
from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer
from twisted.python.failure import Failure
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from zope.interface import implementer

from clusterapp.interfaces import Fields


class Source(Protocol):
    """Where a body comes from: the reading side of a connection."""

    def pause_reading(self) -> None:
        """Read nothing more from the client's socket."""

    def resume_reading(self) -> None:
        """Read on."""


@implementer(IBodyProducer)
class IncomingBody:
    """
    The body of one request, read from the client only as fast as it is wanted.

    Until :meth:`startProducing`, and while paused, at most what one read of
    the socket has brought is held here, and the socket is not read.

    :param length: the body's length in bytes; `None` when it is sent in chunks.
    :param source: the connection that it comes over.
    """

    def __init__(self, length: int | None, source: Source) -> None:
        self.length: int | str = UNKNOWN_LENGTH if length is None else length
        #: The fields after a chunked body; empty until the body has ended.
        self.trailers: Fields = ()
        self._source = source
        self._progress = _nothing
        self._consumer: IConsumer | None = None
        self._paused = False
        self._stopped = False
        self._held: deque[bytes] = deque()
        self._ended = False
        self._broken = False
        self._done: Deferred[None] | None = None

    @property
    def complete(self) -> bool:
        """Whether the client has sent all of it."""
        return self._ended

    @property
    def _coming(self) -> bool:
        return not (self._ended or self._broken)

    def watch(self, progress: Callable[[], None]) -> None:
        """Have this called whenever a piece, or the end, has been passed on."""
        self._progress = progress

    # What the reader calls: IBodyProducer.

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """
        Pass the body to the consumer.

        :return: fires with `None` when the whole body has been passed on; fails
            when the client's connection is lost before; never fires after
            :meth:`stopProducing`.
        """
        self._consumer = consumer
        self._done = Deferred()
        done = self._done
        self.resumeProducing()
        return done

    def pauseProducing(self) -> None:
        """Hold the body back, and the client with it."""
        self._paused = True
        if self._coming:
            self._source.pause_reading()

    def resumeProducing(self) -> None:
        """Pass on what was held back, and read on."""
        self._paused = False
        if self._coming:
            self._source.resume_reading()
        self._pass_on()

    def stopProducing(self) -> None:
        """Pass nothing more on, and hold the client back."""
        self._stopped = True
        if self._coming:
            self._source.pause_reading()
        self._consumer = self._done = None
        self._held.clear()

    # What the connection calls.

    def received(self, piece: bytes) -> None:
        """Take a piece of the body from the client."""
        if self._stopped:
            return
        self._held.append(piece)
        if self._consumer is None:
            self._source.pause_reading()
        else:
            self._pass_on()

    def ended(self, trailers: Fields) -> None:
        """Know that the client has sent the whole body."""
        self._ended = True
        self.trailers = trailers
        self._pass_on()

    def broken(self, reason: Failure) -> None:
        """Know that the rest of the body will never come."""
        self._broken = True
        done, self._done = self._done, None
        self._consumer = None
        self._held.clear()
        if done is not None:
            done.errback(reason)

    def _pass_on(self) -> None:
        # A consumer may pause us, or stop us, at any piece.
        while self._held and self._consumer is not None and not self._paused:
            self._consumer.write(self._held.popleft())
            self._progress()
        if self._ended and not self._held and not self._paused:
            self._finish()

    def _finish(self) -> None:
        done, self._done = self._done, None
        if done is not None:
            self._consumer = None
            self._progress()
            done.callback(None)


def _nothing() -> None:
    """Progress that nobody watches."""
