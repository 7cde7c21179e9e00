"""The two ends of the control channel between a master and one child."""

from typing import TYPE_CHECKING, Protocol, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import ServerFactory, connectionDone
from twisted.protocols import amp
from twisted.python.failure import Failure

from clusterapp.channel.commands import (
    CoreReady,
    Drain,
    Failed,
    Ready,
    ReopenLogs,
)

if TYPE_CHECKING:
    from twisted.internet.interfaces import ITCPTransport

#: AMP's longest value is 65,535 bytes; UTF-8 takes at most 4 for a character.
_LONGEST_TEXT = 65_535 // 4


class Adopted(ServerFactory[amp.BinaryBoxProtocol]):
    """
    Gives the one end of a channel that it was made for.

    A reactor adopts a socket for a factory; a channel has no more than one end here.
    """

    noisy = False

    def __init__(self, end: amp.BinaryBoxProtocol) -> None:
        self._end = end

    def buildProtocol(self, addr: IAddress | None) -> amp.BinaryBoxProtocol:  # noqa: ARG002
        """Give the end."""
        return self._end


class ChildEvents(Protocol):
    """What a child may tell its master."""

    def ready(self) -> None:
        """Hear that the child can take connections."""

    def failed(self, *, loading: bool, reason: str, traceback: str) -> None:
        """Hear why the child cannot start."""


class _End(amp.BinaryBoxProtocol, amp.BoxDispatcher, amp.CommandLocator):
    """What `amp.AMP` is, but it does not log each connection made and lost."""

    def __init__(self) -> None:
        amp.BoxDispatcher.__init__(self, self)
        amp.BinaryBoxProtocol.__init__(self, self)


class MasterEnd(_End):
    """The master's end of one child's channel."""

    def __init__(self, events: ChildEvents) -> None:
        super().__init__()
        self._events = events

    @Ready.responder
    def _ready(self) -> dict[str, object]:
        self._events.ready()
        return {}

    @Failed.responder
    def _failed(self, loading: bool, reason: str, traceback: str) -> dict[str, object]:
        self._events.failed(loading=loading, reason=reason, traceback=traceback)
        return {}

    def drain(self) -> Deferred[None]:
        """Ask the child to finish and leave; fires when it has heard."""
        return self._say(Drain)

    def core_ready(self, ready: bool) -> Deferred[None]:
        """Tell a worker whether the core takes requests."""
        return self._say(CoreReady, ready=ready)

    def reopen_logs(self) -> Deferred[None]:
        """Ask a worker to open its logs anew; fires when it has done so."""
        return self._say(ReopenLogs)

    def close(self) -> None:
        """Hear no more of a child that is gone, or was never there."""
        cast("ITCPTransport", self.transport).abortConnection()

    def _say(self, command: type[amp.Command], **arguments: object) -> Deferred[None]:
        said: Deferred[object] = self.callRemote(command, **arguments)
        return said.addCallback(lambda _: None)


class MasterOrders(Protocol):
    """What a master may tell its child."""

    def drain(self) -> None:
        """Finish what is there, then leave."""

    def core_ready(self, ready: bool) -> None:
        """Hear whether the core takes requests."""

    def reopen_logs(self) -> None:
        """Hear that the files of logs are to be opened anew."""

    def master_gone(self) -> None:
        """Hear that there is no master any more."""


class ChildEnd(_End):
    """A child's end of its channel to the master."""

    def __init__(self, orders: MasterOrders) -> None:
        super().__init__()
        self._orders = orders

    @Drain.responder
    def _drain(self) -> dict[str, object]:
        self._orders.drain()
        return {}

    @CoreReady.responder
    def _core_ready(self, ready: bool) -> dict[str, object]:
        self._orders.core_ready(ready)
        return {}

    @ReopenLogs.responder
    def _reopen_logs(self) -> dict[str, object]:
        self._orders.reopen_logs()
        return {}

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Take the end of the channel as the notice of the master's death."""
        super().connectionLost(reason)
        self._orders.master_gone()

    def ready(self) -> Deferred[None]:
        """Tell the master that connections can come."""
        said: Deferred[object] = self.callRemote(Ready)
        return said.addCallback(lambda _: None)

    def failed(self, *, loading: bool, reason: str, traceback: str) -> Deferred[None]:
        """
        Tell the master why this child cannot start.

        :param loading: whether the application could not be loaded.
        :param reason: one line.
        :param traceback: its last part is sent if it is long.
        """
        said: Deferred[object] = self.callRemote(
            Failed,
            loading=loading,
            reason=_sendable(reason)[:_LONGEST_TEXT],
            traceback=_sendable(traceback)[-_LONGEST_TEXT:],
        )
        return said.addCallback(lambda _: None)


def _sendable(text: str) -> str:
    """Write out what UTF-8 cannot hold: file names may bring lone surrogates."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
