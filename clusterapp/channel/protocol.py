"""AMP as both channels speak it: between master and child, old master and new."""

import socket
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ConnectionClosed
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import ServerFactory
from twisted.protocols import amp
from twisted.python.failure import Failure

from clusterapp.channel.unanswered import as_loss
from clusterapp.descriptors import HasDescriptor, adopt_inherited, own
from clusterapp.guards import report

if TYPE_CHECKING:
    from twisted.internet.interfaces import ITCPTransport


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


class End(amp.BinaryBoxProtocol, amp.BoxDispatcher, amp.CommandLocator):
    """
    One end of a channel.

    It is what `amp.AMP` is, but neither logs each connection made and lost nor closes
    the channel for an exception.
    """

    def __init__(self) -> None:
        amp.BoxDispatcher.__init__(self, self)
        amp.BinaryBoxProtocol.__init__(self, self)

    def connectionMade(self) -> None:
        """Called when the channel is there."""
        super().connectionMade()
        # By it each side hears of the other's end: no fork may hold it open.
        own(cast("HasDescriptor", self.transport))

    def close(self) -> None:
        """Hear no more of who is gone, or was never there."""
        cast("ITCPTransport", self.transport).abortConnection()

    def dispatchCommand(self, box: amp.AmpBox) -> Deferred[amp.AmpBox]:
        """
        Answer a command of the other end.

        An exception that a responder does not declare is an error for that command
        alone; `amp.AMP` would close the channel, which ends a worker.
        """
        answer: Deferred[amp.AmpBox] = super().dispatchCommand(box)
        command = box[amp.COMMAND].decode("ascii", "replace")
        return answer.addErrback(_as_answer, command)

    def unhandledError(self, failure: Failure) -> None:
        """Log an exception of what waited for an answer; the channel stays open."""
        if not failure.check(ConnectionClosed):
            report("take the answer of the other end", failure)

    def _ask(self, command: type[amp.Command], **arguments: object) -> Deferred[Any]:
        asked: Deferred[Any] = maybeDeferred(self.callRemote, command, **arguments)
        # What a transport that is gone raises when it is given a descriptor.
        return asked.addErrback(as_loss)

    def _say(self, command: type[amp.Command], **arguments: object) -> Deferred[None]:
        return self._ask(command, **arguments).addCallback(lambda _: None)


def _as_answer(failure: Failure, command: str) -> Failure:
    """Make an exception of a responder an answer that ends nothing."""
    if failure.check(amp.RemoteAmpError):
        return failure
    report(f"carry out {command}", failure)
    error = amp.RemoteAmpError(
        amp.UNKNOWN_ERROR_CODE, failure.getErrorMessage(), fatal=False, local=failure
    )
    return Failure(error)


def received(descriptor: int) -> socket.socket:
    """Make a socket of a descriptor that has come over a channel."""
    return adopt_inherited(descriptor)


def sendable(text: str) -> str:
    """Write out what UTF-8 cannot hold: file names may bring lone surrogates."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
