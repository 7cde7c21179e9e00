"""Output half of a client connection, and closing it, without an event loop."""

import os
from collections.abc import Callable
from math import inf
from typing import Protocol, cast

from twisted.internet.interfaces import IAddress, IProducer, IPushProducer
from twisted.python.failure import Failure

from clusterapp.guards import guarded
from clusterapp.http.connection_limits import LINGER_CHECK, LINGER_SECONDS, WRITE_STALL
from clusterapp.http.server.deadlines import Deadlines, Phase
from clusterapp.http.server.interfaces import Server
from clusterapp.http.server.pull_producer import Pulling

#: How many bytes of a file are read at once, where sendfile(2) cannot be used.
_PIECE = 128 * 1024


class Cancellable(Protocol):
    """A scheduled call: Twisted's `IDelayedCall`, asyncio's `Handle`."""

    def cancel(self) -> None:
        """Cancel the call."""


#: Guards the callbacks of a connection: an exception ends that connection, and the
#: request under way with a 500 if nothing of the response was sent.
ends_connection = guarded(
    lambda connection, *_: connection.described(),
    lambda failure, connection, *_: connection.fail(failure),
    lambda doing, failure, connection, *_: connection.report(doing, failure),
)


class Wire:
    """
    Base class of a connection: its use of the transport.

    An adapter for each kind of transport implements the methods that raise
    `NotImplementedError`.

    :param site: the site that is served.
    """

    __slots__ = (
        "_client_closes",
        "_input_closed",
        "_linger_end",
        "_producer",
        "_reading_paused",
        "_unacknowledged",
        "_writing_paused",
        "deadlines",
        "site",
    )

    def __init__(self, site: Server) -> None:
        self.site = site
        self.deadlines = Deadlines(site.clock)
        self._input_closed = False
        # Whether the client has announced that it sends no further request.
        self._client_closes = False
        # Bytes that the client has not acknowledged at the last progress of a lingering
        # close, and when the close ends unless there is more progress.
        self._unacknowledged = 0
        self._linger_end = inf
        self._reading_paused = False
        self._writing_paused = False
        self._producer: IPushProducer | Pulling | None = None

    # Implemented by the transport adapter.

    def write(self, data: bytes) -> None:
        """Write bytes to the client."""
        raise NotImplementedError

    def getPeer(self) -> IAddress:
        """Return the client's address."""
        raise NotImplementedError

    def getHost(self) -> IAddress:
        """Return the address that the client has connected to."""
        raise NotImplementedError

    def isSecure(self) -> bool:
        """Return whether the client uses TLS, as far as the connection shows."""
        raise NotImplementedError

    def client_certificate(self) -> bytes | None:
        """Return the client certificate in DER, or None."""
        raise NotImplementedError

    def _stop_reading(self) -> None:
        raise NotImplementedError

    def _start_reading(self) -> None:
        raise NotImplementedError

    def _close_writing(self) -> bool:
        """Close the write side; return False if half-closing is not supported."""
        raise NotImplementedError

    def _close(self) -> None:
        """Close the transport once everything is written."""
        raise NotImplementedError

    def _end_linger(self) -> None:
        """Close the transport of a connection whose write side is closed."""
        raise NotImplementedError

    def _is_flushed(self) -> bool:
        """Return whether all written bytes have been passed to the kernel."""
        raise NotImplementedError

    def unacknowledged(self) -> int:
        """Return how many written bytes the client has not acknowledged yet."""
        raise NotImplementedError

    def _abort(self) -> None:
        """Abort the transport: close at once and discard unsent bytes."""
        raise NotImplementedError

    def _call_soon(self, callback: Callable[[], None]) -> "Cancellable":
        """Schedule a call in the next turn of the event loop."""
        raise NotImplementedError

    def described(self) -> str:
        """Return a description of what the connection is doing, for the log."""
        raise NotImplementedError

    def fail(self, failure: Failure) -> None:
        """
        Close the connection after an exception in one of its callbacks.

        :param failure: the exception, which has already been logged.
        """
        raise NotImplementedError

    # Implemented by the connection.

    def report(self, doing: str, failure: Failure) -> None:
        """
        Log an exception in one of the connection's callbacks.

        :param doing: the action that failed, as in ``cannot {doing}``.
        :param failure: the exception.
        """
        raise NotImplementedError

    def _producer_failed(self, failure: Failure) -> None:
        raise NotImplementedError

    def _file_failed(self, error: OSError | None = None) -> None:
        """
        Called when a file cannot be sent: abort the connection and its response.

        :param error: the reason; None if the file has become shorter than announced.
        """
        raise NotImplementedError

    # Overridden by an adapter that can use sendfile(2).

    def write_before_file(self, data: bytes) -> None:
        """Write bytes that a part of a file follows at once."""
        self.write(data)

    def send_file(self, fd: int, offset: int, length: int) -> int:
        """
        Send a part of a file.

        :param fd: the file descriptor.
        :param offset: the offset of the part, in bytes.
        :param length: the length of the part, in bytes.
        :return: how many bytes were written; 0 if it must wait, or if the file cannot
            be read and the connection has been aborted.
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

    # Called by the transport adapter.

    @ends_connection
    def writing_paused(self) -> None:
        """Called when the write buffer is full: the client reads too slowly."""
        if self._writing_paused:
            return  # a connection's second transport calls this once more
        self._writing_paused = True
        self.deadlines.stall = self.site.now + WRITE_STALL
        if self._producer is not None:
            self._tell_producer(self._producer.pauseProducing)

    def writing_resumed(self) -> None:
        """Called when most of the write buffer has been sent."""
        self._writing_paused = False
        self.deadlines.stall = inf
        if self._producer is not None:
            self._tell_producer(self._producer.resumeProducing)

    # The methods of a twisted.web channel that a request calls.

    def writeSequence(self, pieces: list[bytes]) -> None:
        """Write the pieces to the client, joined."""
        self.write(b"".join(pieces))

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """
        Register a producer, which is paused and resumed as the client reads.

        An exception of the producer ends the response, since no other code would.

        :param producer: an `IPushProducer` if `streaming`, else an `IPullProducer`;
            it need not declare the interface, as for twisted.web.
        :param streaming: whether it is a push producer.
        :raises RuntimeError: if a producer is registered already.
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
        """Unregister the producer."""
        producer, self._producer = self._producer, None
        if isinstance(producer, Pulling):
            producer.stop()

    def _stop_producer(self) -> None:
        """Unregister the producer, if there is one, and call its stopProducing."""
        producer = self._producer
        self.unregisterProducer()
        if producer is not None:
            guarded("stop a producer")(producer.stopProducing)()

    def _tell_producer(self, call: "Callable[[], object]") -> None:
        try:
            call()
        except Exception:  # noqa: BLE001 - ends the response, and is logged
            self._producer_failed(Failure())

    def loseConnection(self) -> None:
        """
        Close the connection once everything is written.

        If the client may send more while it has yet to read, the close is a lingering
        one.
        """
        if self._needs_linger():
            self.linger(LINGER_CHECK)
        else:
            self._close_now()

    def _needs_linger(self) -> bool:
        """Return whether to close with a lingering close."""
        return not self._client_closes and self.unacknowledged() > 0

    def _close_now(self) -> None:
        """Close once everything is written, without a lingering close."""
        self.unregisterProducer()
        self._input_closed = True
        self.deadlines.wait_for(Phase.END, WRITE_STALL)
        self._close()

    def abortConnection(self) -> None:
        """Abort the connection: close at once, so that the client sees an error."""
        self._input_closed = True
        self._stop_producer()
        self.deadlines.clear()
        self._abort()

    # Also called by the current message.

    def pause_reading(self) -> None:
        """Pause reading from the client."""
        if not self._reading_paused:
            self._reading_paused = True
            self._stop_reading()

    def resume_reading(self) -> None:
        """Resume reading from the client."""
        if self._reading_paused:
            self._reading_paused = False
            self._start_reading()

    def linger(self, seconds: float = LINGER_SECONDS) -> None:
        """
        Close with a lingering close, so that the client can read the response.

        Only the write side is closed, and input is read and discarded until the client
        closes or has acknowledged everything: if a socket is closed before, input that
        is not read, or comes later, resets the connection, and the client loses what
        it has not read (RFC 9112, section 9.6).

        :param seconds: how long to wait for the client to close, even if it has
            acknowledged everything.
        """
        self.unregisterProducer()
        self._input_closed = True
        self._unacknowledged = self.unacknowledged()
        self.deadlines.wait_for(Phase.LINGER, seconds)
        self._linger_end = self.deadlines.at + WRITE_STALL
        self.resume_reading()
        if not self._close_writing():
            self._end_linger()
