"""The record of a response for the access log."""

from typing import NamedTuple, Protocol

from clusterapp.interfaces import Fields


class AccessRecord(NamedTuple):
    """
    A request that was answered, or whose response was aborted.

    :ivar client: the client's address, behind trusted proxies, or ``-``.
    :ivar method: the method as received; ``-`` if it was not a valid request.
    :ivar target: the request target, byte for byte.
    :ivar version: ``b"HTTP/1.1"`` or ``b"HTTP/1.0"``.
    :ivar fields: the request's fields.
    :ivar status: the status code; 0 if there was no response.
    :ivar sent: the bytes of the response's body.
    :ivar seconds: from the end of the request's head to the end of the response.
    :ivar complete: whether the complete response was sent.
    """

    client: str
    method: bytes
    target: bytes
    version: bytes
    fields: Fields
    status: int
    sent: int
    seconds: float
    complete: bool = True


class Recorder(Protocol):
    """The access log of a site."""

    def record(self, answered: AccessRecord) -> None:
        """Log one response; must be cheap, and must not raise."""
