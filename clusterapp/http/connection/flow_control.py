"""Flow control of a connection's output: producers follow the client's reading."""

from collections.abc import Callable
from typing import Protocol, cast

from twisted.internet.interfaces import IProducer, IPushProducer
from twisted.python.failure import Failure

from clusterapp.guards import guarded
from clusterapp.http.connection.pull_producer import Pulling
from clusterapp.http.server.server_interfaces import Server


class ProducerOwner(Protocol):
    """What flow control needs of its connection."""

    site: Server

    def producer_failed(self, failure: Failure) -> None:
        """Called when a producer has raised an exception: end its response."""


class FlowControl:
    """
    Write side of a connection: whether it is paused, and the producer that is told.

    An exception of the producer ends its response, since no other code would.

    :param connection: the connection.
    :ivar paused: whether the write buffer is full.
    :ivar producer: the registered producer, or None.
    """

    __slots__ = ("_connection", "paused", "producer")

    def __init__(self, connection: ProducerOwner) -> None:
        self._connection = connection
        self.paused = False
        self.producer: IPushProducer | Pulling | None = None

    def pause(self) -> None:
        """Called when the write buffer is full: pause the producer."""
        self.paused = True
        if self.producer is not None:
            self._tell(self.producer.pauseProducing)

    def resume(self) -> None:
        """Called when most of the write buffer was sent: resume the producer."""
        self.paused = False
        if self.producer is not None:
            self._tell(self.producer.resumeProducing)

    def register(self, producer: IProducer, *, streaming: bool) -> None:
        """
        Register a producer, which is paused and resumed as the client reads.

        :param producer: an `IPushProducer` if `streaming`, else an `IPullProducer`;
            it need not declare the interface, as for twisted.web.
        :param streaming: whether it is a push producer.
        :raises RuntimeError: if a producer is registered already.
        """
        if self.producer is not None:
            raise RuntimeError(f"there is a producer already: {self.producer}")
        if streaming:
            self.producer = cast("IPushProducer", producer)
            if self.paused:
                self.producer.pauseProducing()
        else:
            pulling = Pulling(
                producer, self._connection.site.clock, self._connection.producer_failed
            )
            self.producer = pulling
            pulling.start(paused=self.paused)

    def unregister(self) -> None:
        """Unregister the producer, if there is one."""
        producer, self.producer = self.producer, None
        if isinstance(producer, Pulling):
            producer.stop()

    def stop(self) -> None:
        """Unregister the producer, if there is one, and call its stopProducing."""
        producer = self.producer
        self.unregister()
        if producer is not None:
            guarded("stop a producer")(producer.stopProducing)()

    def _tell(self, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception:  # noqa: BLE001 - ends the response, and is logged
            self._connection.producer_failed(Failure())
