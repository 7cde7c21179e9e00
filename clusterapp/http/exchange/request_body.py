"""Request body of a streamed exchange, with back-pressure to the client's socket."""

from collections import deque
from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer
from twisted.python.failure import Failure
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from zope.interface import implementer

from clusterapp.interfaces import Fields


class BodySource(Protocol):
    """The source of a body: the read side of a connection."""

    def pause_reading(self) -> None:
        """Pause reading from the client's socket."""

    def resume_reading(self) -> None:
        """Resume reading from the client's socket."""


@implementer(IBodyProducer)
class IncomingBody:
    """
    Body of one request, read from the client only as fast as it is consumed.

    Until :meth:`startProducing`, and while paused, the socket is not read, and at most
    the bytes of one read are buffered here.

    :param length: the body length in bytes; `None` for a chunked body.
    :param source: the connection that the body is received on.
    """

    def __init__(self, length: int | None, source: BodySource) -> None:
        self.length: int | str = UNKNOWN_LENGTH if length is None else length
        #: The trailer fields of a chunked body; empty until the body is complete.
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
        """Whether the client has sent the whole body."""
        return self._ended

    @property
    def _coming(self) -> bool:
        return not (self._ended or self._broken)

    def watch(self, progress: Callable[[], None]) -> None:
        """
        Set a function to be called for each piece of the body, and for its end.

        :param progress: called when a piece, or the end, has been passed on.
        """
        self._progress = progress

    # IBodyProducer: called by the reader of the body.

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """
        Pass the body to the consumer.

        :return: a Deferred that fires with `None` when the whole body has been passed
            on; fails if the client's connection is lost before; never fires after
            :meth:`stopProducing`.
        """
        self._consumer = consumer
        self._done = Deferred()
        done = self._done
        self.resumeProducing()
        return done

    def pauseProducing(self) -> None:
        """Pause the body, and reading from the client."""
        self._paused = True
        if self._coming:
            self._source.pause_reading()

    def resumeProducing(self) -> None:
        """Pass on the buffered pieces, and resume reading."""
        self._paused = False
        if self._coming:
            self._source.resume_reading()
        self._pass_on()

    def stopProducing(self) -> None:
        """Pass nothing more on, and pause reading from the client."""
        self._stopped = True
        if self._coming:
            self._source.pause_reading()
        self._consumer = self._done = None
        self._held.clear()

    # Called by the connection.

    def received(self, piece: bytes) -> None:
        """Called with each piece of the body."""
        if self._stopped:
            return
        self._held.append(piece)
        if self._consumer is None:
            self._source.pause_reading()
        else:
            self._pass_on()

    def ended(self, trailers: Fields) -> None:
        """Called when the body is complete, with its trailer fields."""
        self._ended = True
        self.trailers = trailers
        self._pass_on()

    def broken(self, reason: Failure) -> None:
        """Called when the rest of the body will never be received."""
        self._broken = True
        done, self._done = self._done, None
        self._consumer = None
        self._held.clear()
        if done is not None:
            done.errback(reason)

    def _pass_on(self) -> None:
        # The consumer may pause or stop this producer at any piece.
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
    """Do nothing: the default progress callback."""
