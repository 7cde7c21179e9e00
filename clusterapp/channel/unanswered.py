"""What becomes of remote calls that are not answered: their errbacks."""

from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionClosed, ConnectionLost
from twisted.logger import Logger
from twisted.python.failure import Failure

_log = Logger()


def as_loss(why: Failure) -> Failure:
    """
    Return the failure of a call on a channel that is gone as a loss of that channel.

    A transport that is gone raises a ValueError when it is given a descriptor.
    """
    if why.check(ValueError):
        return Failure(ConnectionLost(why.getErrorMessage()))
    return why


def report_unanswered(why: Failure) -> None:
    """
    End the Deferred of a remote call that has failed.

    A channel that is gone is the usual end of a process, and is no news. All else is
    logged; it ends the one call only.

    :param why: what has become of the call.
    :raise CancelledError: if the call was cancelled: whoever did that waits for it.
    """
    if why.check(CancelledError):
        why.raiseException()
    if not why.check(ConnectionClosed):
        _log.failure("a process did not do what it was told", failure=why)
