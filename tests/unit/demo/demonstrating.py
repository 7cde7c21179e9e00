"""The demo site in memory: a fresh board, its two halves, and clients of them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from klein import Klein
from treq.client import HTTPClient
from treq.testing import StubTreq
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.server import Site

from clusterapp import demo
from clusterapp.demo import core
from clusterapp.interfaces import Role
from clusterapp.web.application import Application

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred


@dataclass
class FakeCluster:
    """A worker's place in a cluster whose core is a stub."""

    core: HTTPClient
    slot: int = 2
    generation: int = 1
    role: Role = "worker"


def visit(slot: int, times: int = 1) -> dict[str, object]:
    """Return what a worker tells of a request, or of some like it."""
    place = {"slot": slot, "pid": 100 + slot, "generation": 1}
    return {**place, "what": "GET /", "times": times}


def on_the_wire(app: Klein, *asked: bytes) -> bytes:
    """Return what ``app`` writes for requests on one connection."""
    transport = StringTransport()
    channel = Site(app.resource(), reactor=Clock()).buildProtocol(None)
    channel.makeConnection(transport)
    for start in asked:
        channel.dataReceived(start + b" HTTP/1.1\r\nHost: demo.invalid\r\n\r\n")
    channel.connectionLost(Failure(ConnectionDone()))
    return bytes(transport.value())


class DemoCase(SynchronousTestCase):
    """A fresh board, and a client of the demo's two halves."""

    def setUp(self) -> None:
        self.board = core.Board()
        self.patch(demo, "board", self.board)
        self.patch(demo, "summary", demo.Summary("GET /whoami"))
        self.core: Any = StubTreq(demo.app.core.resource())
        self.worker: Any = StubTreq(demo.app.resource())

    def join(self, core: object) -> None:
        """Make this process worker 2 of a cluster with that core."""
        cluster = FakeCluster(cast("HTTPClient", core))
        # Binding a process to a cluster is for life, so a test does not do it.
        self.patch(Application, "cluster", cluster)

    def clock(self, client: Any) -> MemoryReactorClock:
        return cast("MemoryReactorClock", client._agent._memoryReactor)

    def answer(self, asked: "Deferred[Any]", code: int = 200) -> Any:
        """Return the answer that has come, which must have this status."""
        response = self.successResultOf(asked)
        self.assertEqual(response.code, code)
        return response

    def text(self, asked: "Deferred[Any]", code: int = 200) -> str:
        """Return the body of the answer."""
        return self.body(self.answer(asked, code))

    def body(self, response: Any) -> str:
        return cast("str", self.successResultOf(response.text()))
