"""AMP of both channels: between master and child, and between old and new master."""

import socket
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ConnectionClosed
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import ServerFactory
from twisted.protocols import amp
from twisted.python.failure import Failure

from clusterapp.channel.unanswered import as_loss
from clusterapp.guards import report
from clusterapp.system.descriptors import HasDescriptor, adopt_inherited, own

if TYPE_CHECKING:
    from twisted.internet.interfaces import ITCPTransport


class Adopted(ServerFactory[amp.BinaryBoxProtocol]):
    """
    A factory that returns the one end of a channel for which it was made.

    A reactor adopts a socket with a factory; here a channel has only one end.
    """

    noisy = False

    def __init__(self, end: amp.BinaryBoxProtocol) -> None:
        self._end = end

    def buildProtocol(self, addr: IAddress | None) -> amp.BinaryBoxProtocol:  # noqa: ARG002
        """Return the end of the channel."""
        return self._end


class ChannelEnd(amp.BinaryBoxProtocol, amp.BoxDispatcher, amp.CommandLocator):
    """
    One end of a channel.

    Like `amp.AMP`, but it neither logs each connection made and lost nor closes the
    channel for an exception.
    """

    def __init__(self) -> None:
        amp.BoxDispatcher.__init__(self, self)
        amp.BinaryBoxProtocol.__init__(self, self)

    def connectionMade(self) -> None:
        """Called when the channel is connected."""
        super().connectionMade()
        # Its end of file notifies each side of the other's exit: no fork may keep it
        # open.
        own(cast("HasDescriptor", self.transport))

    def close(self) -> None:
        """Close the channel at once, whether or not the other end still exists."""
        cast("ITCPTransport", self.transport).abortConnection()

    def dispatchCommand(self, box: amp.AmpBox) -> Deferred[amp.AmpBox]:
        """
        Run the responder of a command of the other end.

        An exception that a responder does not declare is an error for that command
        alone; `amp.AMP` would close the channel, which ends a worker.
        """
        answer: Deferred[amp.AmpBox] = super().dispatchCommand(box)
        command = box[amp.COMMAND].decode("ascii", "replace")
        return answer.addErrback(_as_answer, command)

    def unhandledError(self, failure: Failure) -> None:
        """Log an exception of the handler of an answer; keep the channel open."""
        if not failure.check(ConnectionClosed):
            report("handle the answer of the other end", failure)

    def _ask(self, command: type[amp.Command], **arguments: object) -> Deferred[Any]:
        asked: Deferred[Any] = maybeDeferred(self.callRemote, command, **arguments)
        # A transport that is closed raises when it is given a descriptor.
        return asked.addErrback(as_loss)

    def _send(self, command: type[amp.Command], **arguments: object) -> Deferred[None]:
        return self._ask(command, **arguments).addCallback(lambda _: None)


def _as_answer(failure: Failure, command: str) -> Failure:
    """Convert a responder's exception into an error that is not fatal."""
    if failure.check(amp.RemoteAmpError):
        return failure
    report(f"execute the command {command}", failure)
    error = amp.RemoteAmpError(
        amp.UNKNOWN_ERROR_CODE, failure.getErrorMessage(), fatal=False, local=failure
    )
    return Failure(error)


def received(descriptor: int) -> socket.socket:
    """Return a socket for a descriptor that was received over a channel."""
    return adopt_inherited(descriptor)


def sendable(text: str) -> str:
    """Return a text with lone surrogates (as in file names) escaped for UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
