"""The fields of a response, which cannot become lines of their own."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from twisted.web import http_headers
from twisted.web.http_headers import Headers

from clusterapp.http.syntax.response_framing import one_line

#: The names of fields that are remembered, and the bytes above which one never is;
#: applications and clients use about a hundred.
_MOST_NAMES = 1024
_LONGEST_NAME = 64
#: The length of a name and a value above which their line is made anew each time.
_LONGEST_LINE = 128


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


def canonical(name: str | bytes) -> tuple[bytes, bytes]:
    """
    Give a field's name in lower case, and as Twisted writes it.

    :raises twisted.web.http_headers.InvalidHeaderName: if it is no token.
    """
    return _known_name(name) if len(name) <= _LONGEST_NAME else _canonical(name)


def _canonical(name: str | bytes) -> tuple[bytes, bytes]:
    headers = Headers()
    headers.setRawHeaders(name, [])
    [(written, _)] = headers.getAllRawHeaders()
    return written.lower(), written


_known_name = lru_cache(256)(_canonical)


def field_line(name: str | bytes, value: str | bytes) -> tuple[bytes, bytes]:
    """
    Give a field's name in lower case, and its line; most are set again and again.

    :raises twisted.web.http_headers.InvalidHeaderName: if the name is no token.
    :raises ValueError: if the value has a line break or a NUL.
    :raises TypeError: if it is no text.
    """
    is_text = isinstance(value, (str, bytes))
    if is_text and len(name) + len(value) < _LONGEST_LINE:
        return _known_line(name, value)
    return _line(name, value)


def _line(name: str | bytes, value: str | bytes) -> tuple[bytes, bytes]:
    lowered, written = canonical(name)
    return lowered, b"%b: %b\r\n" % (written, as_value(value))


_known_line = lru_cache(1024)(_line)


class BoundedNames(dict[bytes | str, bytes]):
    """
    The names of fields that Twisted has seen, as it writes them.

    Takes the place of the dictionary in which `twisted.web.http_headers` keeps 10,000
    names of any length for ever, whoever has sent them.
    """

    def __setitem__(self, name: bytes | str, written: bytes) -> None:
        """Keep a name, unless it is a long one; forget all if there are many."""
        if len(name) > _LONGEST_NAME:
            return
        if len(self) >= _MOST_NAMES:
            self.clear()
        super().__setitem__(name, written)


def bound_names() -> None:
    """
    Bound what Twisted keeps of the names of fields, to about 256 KiB.

    `_nameEncoder` and its cache are not promised; read in Twisted 26.10.
    """
    encoder = http_headers._nameEncoder  # noqa: SLF001
    encoder._canonicalHeaderCache = BoundedNames()  # noqa: SLF001


bound_names()


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
