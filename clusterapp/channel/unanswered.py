"""Errbacks of remote calls that have failed or are not answered."""

from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionClosed, ConnectionLost
from twisted.logger import Logger
from twisted.python.failure import Failure

_log = Logger()


def as_loss(why: Failure) -> Failure:
    """
    Convert the failure of a call on a closed channel into a connection loss.

    A transport that is closed raises a ValueError when it is given a descriptor.
    """
    if why.check(ValueError):
        return Failure(ConnectionLost(why.getErrorMessage()))
    return why


def report_unanswered(why: Failure) -> None:
    """
    Handle the failure of a remote call whose result is not needed.

    A closed channel is the usual end of a process, and is not logged. Every other
    failure is logged; it affects only this call.

    :param why: the failure of the call.
    :raise CancelledError: if the call was cancelled: the caller that did so handles it.
    """
    if why.check(CancelledError):
        why.raiseException()
    if not why.check(ConnectionClosed):
        _log.failure("a command to another process failed", failure=why)
