"""
The header fields of forwarded messages, as code for ordinary clients is to see them.

Between a proxy and its agent, treq and Twisted's agents copy and complete header
fields.  A forwarded head is complete, and is sent as it was received.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from twisted.web.http_headers import Headers

from clusterapp.http.syntax.message_head import RequestHead, ResponseHead


class ForwardedHeaders(Headers):
    """
    The complete head of a forwarded request, which no change applies to.

    :param head: the head, with the client's target and fields byte for byte.
    :param interim: called with each 1xx response that precedes the final one.
    """

    __slots__ = ("head", "interim")

    def __init__(
        self,
        head: RequestHead,
        interim: Callable[[ResponseHead], None] | None = None,
    ) -> None:
        # Without Headers' own dictionary: nothing is ever stored in it.
        self.head = head
        self.interim = interim

    def __repr__(self) -> str:
        """Return the class and the head."""
        return f"{type(self).__name__}({self.head!r})"

    def copy(self) -> "ForwardedHeaders":
        """Return this object, which does not change."""
        return self

    def hasHeader(self, name: str | bytes) -> bool:  # noqa: ARG002
        """Return True: no field is missing, so no default is to be computed."""
        return True

    def getRawHeaders(self, name: Any, default: Any = None) -> Any:
        """Return the values of a field, or the default if it has none."""
        wanted = (name.encode("latin-1") if isinstance(name, str) else name).lower()
        found = [value for known, value in self.head.fields if known.lower() == wanted]
        if isinstance(name, str):
            return [value.decode("utf-8") for value in found] or default
        return found or default

    def getAllRawHeaders(self) -> Iterator[tuple[bytes, Sequence[bytes]]]:
        """Return an iterator of the fields in their order, with repeated ones."""
        return ((name, [value]) for name, value in self.head.fields)

    def addRawHeader(self, name: str | bytes, value: str | bytes) -> None:
        """Do nothing: the head is sent as it was received."""

    def setRawHeaders(self, name: str | bytes, values: Sequence[str | bytes]) -> None:
        """Do nothing: the head is sent as it was received."""

    def removeHeader(self, name: str | bytes) -> None:
        """Do nothing: the head is sent as it was received."""


class _NoHeaders(Headers):
    """No header fields, now and later."""

    __slots__ = ()

    def addRawHeader(self, name: str | bytes, value: str | bytes) -> None:
        """Do nothing."""

    def setRawHeaders(self, name: str | bytes, values: Sequence[str | bytes]) -> None:
        """Do nothing."""


#: The fields of each forwarded response: one object for all.  treq would otherwise
#: decode a body by its ``Content-Encoding``.
NO_HEADERS: Final = _NoHeaders()
