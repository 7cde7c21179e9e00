"""The writing half of a client's connection, and its end: no event loop in it."""

import os
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Literal, Protocol, cast

from twisted.internet.interfaces import IAddress, IProducer, IPushProducer
from twisted.python.failure import Failure

from clusterapp.guards import guarded
from clusterapp.http.limits import LINGER_SECONDS, WRITE_STALL
from clusterapp.http.server.pull_producer import Pulling

if TYPE_CHECKING:
    from clusterapp.http.server.site import ClusterSite

#: How much of a file is read at once, where the kernel cannot send it by itself.
_PIECE = 128 * 1024


class Cancellable(Protocol):
    """A scheduled call: Twisted's `IDelayedCall`, asyncio's `Handle`."""

    def cancel(self) -> None:
        """Do not call."""


#: What a connection waits for, and so what it does when the time is over. The "rest"
#: is what the client has not taken yet of a response, before the connection leaves;
#: "notify" the client's close_notify, when everything is written.
Phase = Literal[
    "nothing",
    "request",
    "rest",
    "head",
    "body",
    "response",
    "stream",
    "upgraded",
    "goodbye",
    "discard",
    "notify",
    "end",
]


#: Guards the callbacks of a connection: an exception ends that connection, and the
#: request under way with a 500 if nothing of the response was sent.
ends_connection = guarded(
    lambda connection, *_: connection.described(),
    lambda failure, connection, *_: connection.fail(failure),
    lambda doing, failure, connection, *_: connection.report(doing, failure),
)


class Wire:
    """
    What a connection does with its transport.

    A face for each kind of transport fills in the methods that raise
    `NotImplementedError`.

    :param site: the site that is served.
    """

    __slots__ = (
        "_input_closed",
        "_producer",
        "_reading_paused",
        "_writing_paused",
        "deadline",
        "phase",
        "site",
        "stall",
    )

    def __init__(self, site: "ClusterSite") -> None:
        self.site = site
        #: When what `phase` waits for is late, on the site's clock.
        self.deadline = inf
        self.phase: Phase = "nothing"
        #: When the client has taken too little for too long.
        self.stall = inf
        self._input_closed = False
        self._reading_paused = False
        self._writing_paused = False
        self._producer: IPushProducer | Pulling | None = None

    # What a face does.

    def write(self, data: bytes) -> None:
        """Write to the client."""
        raise NotImplementedError

    def getPeer(self) -> IAddress:
        """Tell the client's address."""
        raise NotImplementedError

    def getHost(self) -> IAddress:
        """Tell the address that the client has connected to."""
        raise NotImplementedError

    def isSecure(self) -> bool:
        """Tell whether the client came over TLS, as far as the connection tells."""
        raise NotImplementedError

    def client_certificate(self) -> bytes | None:
        """Return the certificate that the client has shown, in DER, if any."""
        raise NotImplementedError

    def _stop_reading(self) -> None:
        raise NotImplementedError

    def _start_reading(self) -> None:
        raise NotImplementedError

    def _close_writing(self) -> bool:
        """End the stream to the client; False if that cannot be done alone."""
        raise NotImplementedError

    def _close(self) -> None:
        """Close once everything is written."""
        raise NotImplementedError

    def _end_input(self) -> None:
        """Wait for nothing more from the client of a connection that was closed."""
        raise NotImplementedError

    def _abort(self) -> None:
        """Close at once."""
        raise NotImplementedError

    def _call_soon(self, callback: Callable[[], None]) -> "Cancellable":
        """Call back in the next turn of the event loop."""
        raise NotImplementedError

    def described(self) -> str:
        """Return what the connection is doing, for the log."""
        raise NotImplementedError

    def fail(self, failure: Failure) -> None:
        """
        End the connection after an exception in one of its callbacks.

        :param failure: the exception, which has been logged.
        """
        raise NotImplementedError

    # What a connection does.

    def report(self, doing: str, failure: Failure) -> None:
        """
        Log an exception in one of the connection's callbacks.

        :param doing: what failed: ``cannot {doing}``.
        :param failure: the exception.
        """
        raise NotImplementedError

    def _producer_failed(self, failure: Failure) -> None:
        raise NotImplementedError

    def _file_failed(self, error: OSError | None = None) -> None:
        """
        Break off a response whose file cannot be sent.

        :param error: why; None if the file has become shorter than was announced.
        """
        raise NotImplementedError

    # What a face may do better.

    def write_before_file(self, data: bytes) -> None:
        """Write what a piece of a file follows at once."""
        self.write(data)

    def send_file(self, fd: int, offset: int, length: int) -> int:
        """
        Send a piece of a file.

        :return: how much of it is on its way; 0 if it must wait, or cannot be had
            and the connection has been broken off.
        """
        try:
            piece = os.pread(fd, min(length, _PIECE), offset)
        except OSError as error:
            self._file_failed(error)
            return 0
        if piece:
            self.write(piece)
        else:
            self._file_failed()
        return len(piece)

    # What a face calls.

    @ends_connection
    def writing_paused(self) -> None:
        """Know that the client is slower than we are."""
        if self._writing_paused:
            return  # a new transport says again what the one before it said
        self._writing_paused = True
        self.stall = self.site.now + WRITE_STALL
        if self._producer is not None:
            self._tell_producer(self._producer.pauseProducing)

    def writing_resumed(self) -> None:
        """Know that the client has taken most of what was written."""
        self._writing_paused = False
        self.stall = inf
        if self._producer is not None:
            self._tell_producer(self._producer.resumeProducing)

    # What a channel of twisted.web offers to a request.

    def writeSequence(self, pieces: list[bytes]) -> None:
        """Write to the client."""
        self.write(b"".join(pieces))

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """
        Let a producer follow how fast the client reads.

        A producer that raises an exception ends the response: nobody else would.

        :param producer: an `IPushProducer` if `streaming`, else an `IPullProducer`;
            it need not declare that, as for twisted.web.
        """
        if self._producer is not None:
            raise RuntimeError(f"there is a producer already: {self._producer}")
        if streaming:
            self._producer = cast("IPushProducer", producer)
            if self._writing_paused:
                self._producer.pauseProducing()
        else:
            pulling = Pulling(producer, self.site.clock, self._producer_failed)
            self._producer = pulling
            pulling.start(paused=self._writing_paused)

    def unregisterProducer(self) -> None:
        """Forget the producer."""
        producer, self._producer = self._producer, None
        if isinstance(producer, Pulling):
            producer.stop()

    def _stop_producer(self) -> None:
        """Tell the producer, if there is one, that nobody wants the rest."""
        producer = self._producer
        self.unregisterProducer()
        if producer is not None:
            guarded("stop a producer")(producer.stopProducing)()

    def _tell_producer(self, call: "Callable[[], object]") -> None:
        try:
            call()
        except Exception:  # noqa: BLE001 - it ends the response, and is logged
            self._producer_failed(Failure())

    def loseConnection(self) -> None:
        """Close once everything is written."""
        self.unregisterProducer()
        self._input_closed = True
        self._wait_for("end", WRITE_STALL)
        self._close()

    def abortConnection(self) -> None:
        """Close at once, so that the client sees a broken connection."""
        self._input_closed = True
        self._stop_producer()
        self._wait_for("nothing", inf)
        self._abort()

    # Also what the message under way calls.

    def pause_reading(self) -> None:
        """Read nothing more from the client."""
        if not self._reading_paused:
            self._reading_paused = True
            self._stop_reading()

    def resume_reading(self) -> None:
        """Read on."""
        if self._reading_paused:
            self._reading_paused = False
            self._start_reading()

    def linger(self) -> None:
        """Close after what was written, so that the client can read it."""
        # Closing a socket with unread input resets the connection, and the
        # client may lose what it has not read (RFC 9112, section 9.6).
        self.unregisterProducer()
        self._input_closed = True
        self._wait_for("end", LINGER_SECONDS)
        if self._close_writing():
            self.resume_reading()
        else:
            self._close()

    def _wait_for(self, phase: Phase, seconds: float) -> None:
        self.phase = phase
        # Not by the site's last look, which is up to a second old: nobody is cut off
        # before the time.
        self.deadline = self.site.clock.seconds() + seconds
