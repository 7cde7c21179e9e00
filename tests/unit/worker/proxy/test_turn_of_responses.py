"""Complete responses go to their clients at the end of the loop's turn."""

from typing import TYPE_CHECKING, Any, cast

from twisted.internet.defer import CancelledError

from clusterapp.http.syntax.message_head import ResponseHead
from clusterapp.http.upstream.forwarding_client import ForwardingClient
from clusterapp.interfaces import Fields
from clusterapp.system.turn_end import TurnEnd
from clusterapp.worker.proxy.proxied_request import ProxiedRequest, Upstream
from clusterapp.worker.proxy.readiness import Readiness
from clusterapp.worker.proxy.stream_drain import StreamDrain
from clusterapp.worker.proxy.upstream_timeouts import UpstreamTimeout
from tests.unit.http.upstream.core_wire import CHUNKED, GET, OK, AgentTestCase

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

    from clusterapp.http.exchange.exchange import Exchange


class Asked:
    """A client's request without a body, which notes what is sent to the client."""

    length = 0

    def __init__(self) -> None:
        self.did: list[object] = []

    def respond(self, head: ResponseHead, body: bytes) -> None:
        """Note."""
        self.did.append((head.status, body))

    def finish(self, trailers: Fields = ()) -> None:
        """Note."""
        self.did.append("finish")

    def register(self, producer: object) -> None:
        """Do nothing."""

    def write(self, data: bytes) -> None:
        """Note."""
        self.did.append(data)


class TurnTests(AgentTestCase):
    """Forwarded requests, and turns of a loop that the test ends."""

    def setUp(self) -> None:
        super().setUp()
        self.ends: list[Callable[[], None]] = []
        self.timeout = UpstreamTimeout(self.clock, 60)
        self.addCleanup(self.timeout.stop)
        readiness = Readiness(self.clock)
        readiness.set(True)
        self.upstream = Upstream(
            "the core",
            self.clock,
            ForwardingClient(self.agent, self.clock),
            readiness,
            self.timeout,
            StreamDrain(self.clock),
            TurnEnd(self.ends.append),
        )
        self.ended: list[Failure | None] = []

    def close(self) -> None:
        self.timeout.stop()
        super().close()

    def forward(self) -> tuple[Asked, ProxiedRequest]:
        """Forward a request."""
        asked: Any = Asked()
        proxied = ProxiedRequest(
            self.upstream,
            GET,
            cast("Exchange", asked),
            0.0,
            lambda _, failure: self.ended.append(failure),
        )
        proxied.begin()
        return asked, proxied

    def end(self) -> None:
        """End the turn."""
        ends = list(self.ends)
        self.ends.clear()
        for each in ends:
            each()

    def test_complete(self) -> None:
        """Those of one turn wait for its end; their connections are free before."""
        first, _ = self.forward()
        self.wire.answer(OK)
        second, _ = self.forward()
        self.assertEqual(len(self.core.wires), 1)
        self.wire.answer(OK)
        self.assertEqual((first.did, second.did, len(self.ends)), ([], [], 1))
        self.end()
        for asked in (first, second):
            self.assertEqual(asked.did, [(200, b"ok"), "finish"])
        self.assertEqual(self.ended, [None, None])

    def test_in_pieces(self) -> None:
        """A response that is not complete begins at once."""
        asked, _ = self.forward()
        self.wire.answer(CHUNKED)
        self.wire.answer(b"1\r\na\r\n")
        self.assertEqual(asked.did, [(200, b""), b"a"])
        self.wire.answer(b"0\r\n\r\n")
        self.assertEqual(asked.did, [(200, b""), b"a", "finish"])
        self.assertEqual((self.ends, self.ended), ([], [None]))

    def test_client_that_has_gone(self) -> None:
        """A request that is given up before the end is answered no more."""
        asked, proxied = self.forward()
        self.wire.answer(OK)
        proxied.give_up()
        (failure,) = self.ended
        self.assertTrue(failure and failure.check(CancelledError))
        self.end()
        self.assertEqual((asked.did, len(self.ended)), ([], 1))
        self.assertFalse(self.wire.aborted)
