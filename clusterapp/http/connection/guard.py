"""The guard for the callbacks of a client connection and of its parts."""

from typing import Protocol

from twisted.python.failure import Failure

from clusterapp.guards import guarded


class Guarded(Protocol):
    """A connection, which an exception in one of its callbacks ends."""

    def described(self) -> str:
        """Return a description of what the connection is doing, for the log."""

    def report(self, doing: str, failure: Failure) -> None:
        """Log an exception in one of the callbacks."""

    def fail(self, failure: Failure) -> None:
        """Close the connection after an exception in one of the callbacks."""


class Part(Protocol):
    """A part of a connection, or the connection itself."""

    @property
    def connection(self) -> Guarded:
        """The connection that the part belongs to."""


def _described(part: Part, *_: object) -> str:
    return part.connection.described()


def _report(doing: str, failure: Failure, part: Part, *_: object) -> None:
    part.connection.report(doing, failure)


def _fail(failure: Failure, part: Part, *_: object) -> None:
    part.connection.fail(failure)


#: Guards the callbacks of a connection and of its parts: an exception ends that
#: connection, and the request under way with a 500 if no response was begun.
ends_connection = guarded(_described, _fail, _report)
