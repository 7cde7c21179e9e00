"""The fields of a response, which cannot become lines of their own."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from twisted.web.http_headers import Headers

from clusterapp.http.framing import one_line


class ResponseHeaders(Headers):
    """
    Header fields that refuse line breaks and NULs, for the application to see.

    Twisted's own put a space for a line break, and let NULs pass.
    """

    __slots__ = ()

    def setRawHeaders(self, name: str | bytes, values: Sequence[str | bytes]) -> None:
        """
        Set the lines of a field.

        :raises ValueError: if a value has a line break or a NUL.
        """
        super().setRawHeaders(name, [as_value(value) for value in values])

    def addRawHeader(self, name: str | bytes, value: str | bytes) -> None:
        """
        Add a line.

        :raises ValueError: if the value has a line break or a NUL.
        """
        super().addRawHeader(name, as_value(value))


def as_value(value: str | bytes) -> bytes:
    """
    Encode a field's value.

    :raises ValueError: if it has a line break or a NUL.
    :raises TypeError: if it is no text.
    """
    if isinstance(value, str):
        value = value.encode()
    elif not isinstance(value, bytes):
        raise TypeError(f"a field's value is str or bytes, not {value!r}")
    return one_line(value)


@lru_cache(256)
def canonical(name: str | bytes) -> tuple[bytes, bytes]:
    """
    Give a field's name in lower case, and as Twisted writes it.

    :raises twisted.web.http_headers.InvalidHeaderName: if it is no token.
    """
    headers = Headers()
    headers.setRawHeaders(name, [])
    [(written, _)] = headers.getAllRawHeaders()
    return written.lower(), written


def useful(name: bytes, value: bytes | None) -> bytes | None:
    """
    Leave out a Range that no resource of twisted.web can read.

    :param name: the field's name.
    :param value: its value, None if it is not there.
    """
    if value is None or name.lower() != b"range":
        return value
    ranges = value.partition(b"=")[2]
    numbers = ranges.replace(b"-", b",").split(b",")
    fits = max(map(len, numbers)) <= _LONGEST_NUMBER
    return value if fits and value.isascii() and ranges.strip(b" \t,") else None


#: The digits of a place in a file, with white space around them.
_LONGEST_NUMBER: Final = 18

#: The length of a value above which its line is made anew each time.
LONGEST_REMEMBERED: Final = 128


@lru_cache(1024)
def line_of(name: str | bytes, value: str | bytes) -> tuple[bytes, bytes]:
    """
    Give a field's name in lower case, and its line; most are set again and again.

    :raises ValueError: if the value has a line break or a NUL.
    :raises TypeError: if the value is no text.
    :raises twisted.web.http_headers.InvalidHeaderName: if the name is no token.
    """
    lowered, written = canonical(name)
    return lowered, b"%b: %b\r\n" % (written, as_value(value))
