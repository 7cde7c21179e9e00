"""The access log: one line for each response."""

from typing import NamedTuple, Protocol

from clusterapp.interfaces import Fields


class Answered(NamedTuple):
    """
    A request that was answered, or broken off.

    :ivar client: who asked: the address behind trusted proxies, or ``-``.
    :ivar method: the method, as on the wire; ``-`` for what was no request.
    :ivar target: the request target, byte for byte.
    :ivar version: ``b"HTTP/1.1"`` or ``b"HTTP/1.0"``.
    :ivar fields: the request's fields.
    :ivar status: the status code; 0 if there was no response.
    :ivar sent: the bytes of the response's body.
    :ivar complete: whether all of the response was sent.
    :ivar seconds: from the end of the request's head to the end of the response.
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
    """Where a site writes down what it has answered."""

    def record(self, answered: Answered) -> None:
        """Note one response; cheap, and never raising."""
