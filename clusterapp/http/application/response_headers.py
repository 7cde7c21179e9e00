"""The header fields of a response, protected against header injection."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from twisted.web.http_headers import Headers

from clusterapp.http.syntax.response_framing import one_line
from clusterapp.private_names.web import replace_name_cache

#: The most field names that are cached, and the length in bytes of the longest one;
#: applications and clients use about a hundred.
_MOST_NAMES = 1024
_LONGEST_NAME = 64
#: The length of name and value together up to which their line is cached.
_LONGEST_LINE = 128


class ResponseHeaders(Headers):
    """
    Header fields that reject line breaks and NULs, with an error in the application.

    Twisted's own replace a line break by a space, and accept NULs.
    """

    __slots__ = ()

    def setRawHeaders(self, name: str | bytes, values: Sequence[str | bytes]) -> None:
        """
        Set the values of a field.

        :raises ValueError: if a value has a line break or a NUL.
        """
        super().setRawHeaders(name, [as_value(value) for value in values])

    def addRawHeader(self, name: str | bytes, value: str | bytes) -> None:
        """
        Add a field line.

        :raises ValueError: if the value has a line break or a NUL.
        """
        super().addRawHeader(name, as_value(value))


def as_value(value: str | bytes) -> bytes:
    """
    Encode a field value.

    :raises ValueError: if it has a line break or a NUL.
    :raises TypeError: if it is neither str nor bytes.
    """
    if isinstance(value, str):
        value = value.encode()
    elif not isinstance(value, bytes):
        raise TypeError(f"a field's value is str or bytes, not {value!r}")
    return one_line(value)


def canonical(name: str | bytes) -> tuple[bytes, bytes]:
    """
    Return a field name in lower case, and in Twisted's canonical case.

    :raises twisted.web.http_headers.InvalidHeaderName: if it is not a token.
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
    Return a field name in lower case, and its line; frequent ones are cached.

    :raises twisted.web.http_headers.InvalidHeaderName: if the name is not a token.
    :raises ValueError: if the value has a line break or a NUL.
    :raises TypeError: if it is neither str nor bytes.
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
    A bounded cache of field names in Twisted's canonical case.

    Replaces the dictionary in which `twisted.web.http_headers` keeps 10,000 names of
    any length forever, including those that clients send.
    """

    def __setitem__(self, name: bytes | str, written: bytes) -> None:
        """Cache a name, unless it is too long; clear a full cache first."""
        if len(name) > _LONGEST_NAME:
            return
        if len(self) >= _MOST_NAMES:
            self.clear()
        super().__setitem__(name, written)


# To about 256 KiB.
replace_name_cache(BoundedNames())


def useful(name: bytes, value: bytes | None) -> bytes | None:
    """
    Return a field's value; None for a Range that twisted.web cannot parse.

    :param name: the field's name.
    :param value: its value; None if the field is missing.
    """
    if value is None or name.lower() != b"range":
        return value
    ranges = value.partition(b"=")[2]
    numbers = ranges.replace(b"-", b",").split(b",")
    fits = max(map(len, numbers)) <= _LONGEST_NUMBER
    return value if fits and value.isascii() and ranges.strip(b" \t,") else None


#: The most digits of a file offset, with the white space around them.
_LONGEST_NUMBER: Final = 18
