"""What becomes of remote calls that fail: each ends by itself, and is logged once."""

import gc
import socket
from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.error import ConnectionDone
from twisted.protocols.amp import TooLong
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.channel.ends import ChildEnd, MasterEnd
from clusterapp.channel.protocol import ChannelEnd
from clusterapp.channel.request_record import ChildRequests
from clusterapp.channel.unanswered import report_unanswered
from clusterapp.channel.upgrade_channel import NewEnd, OldEnd
from clusterapp.spawning.execute import Child


class FaultError(Exception):
    """What a call fails with."""


class Transport:
    """A process that does not matter."""

    pid = 1


class UnansweredTests(SynchronousTestCase):
    """Calls of each kind, on an end whose calls fail."""

    def setUp(self) -> None:
        self.near, self.far = socket.socketpair()
        self.addCleanup(self.near.close)
        self.addCleanup(self.far.close)
        self.error: Exception = FaultError()

    def end(self, kind: type[Any]) -> Any:
        """Make an end of a channel; whatever it asks fails."""
        made = kind(None)
        made.callRemote = lambda *_, **__: fail(self.error)
        return made

    def calls(self) -> Iterator[Callable[[], Any]]:
        """Return every call whose Deferred has its errback where it is made."""
        requests = ChildRequests()
        self.addCleanup(requests.close)
        transport: Any = Transport()
        child = Child(transport, self.end(MasterEnd), requests)
        yield child.activate
        yield lambda: child.drain(spread=1.0, hand_over=True)
        yield lambda: child.core_ready(True, back=False)
        yield lambda: child.cluster_health(ready=True, detail="{}")
        yield lambda: child.broken("")
        yield lambda: child.accept("tcp:80", self.near, shared=True)
        yield lambda: child.refuse("tcp:80")
        yield lambda: child.update_affinity("{}")
        yield lambda: child.adopt(self.near, "tcp:80")
        yield child.reopen_logs
        yield lambda: self.end(OldEnd).hand_over(self.near, "tcp:80")
        yield self.end(NewEnd).upgrade_complete

    def test_logged_once(self) -> None:
        """No Deferred is left with a failure that nobody has handled."""
        for number, call in enumerate(self.calls()):
            call()
            gc.collect()
            found = self.flushLoggedErrors()
            self.assertEqual([each.type for each in found], [FaultError], number)

    def test_channel_that_is_gone(self) -> None:
        """That is the usual end of a process, and is not logged."""
        self.error = ConnectionDone()
        for call in self.calls():
            call()
        gc.collect()
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_raised_at_once(self) -> None:
        """What cannot be written fails the call, and is not raised into the caller."""

        def refuse(*_: object, **__: object) -> None:
            raise TooLong(False, True, "x", None)

        self.patch(ChannelEnd, "callRemote", refuse)
        end = MasterEnd(None)  # type: ignore[arg-type]
        self.failureResultOf(end.update_affinity("{}"), TooLong)
        child_end = ChildEnd(None)  # type: ignore[arg-type]
        self.failureResultOf(child_end.hand_over(self.near, ""), TooLong)

    def test_cancelled(self) -> None:
        """A cancelled call still fails with CancelledError."""
        given_up: Deferred[None] = Deferred()
        given_up.addErrback(report_unanswered)
        given_up.cancel()
        self.failureResultOf(given_up, CancelledError)
