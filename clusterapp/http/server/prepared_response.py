"""Answers that are ready before anybody asks: what a static file is to the engine."""

import os
from collections.abc import Callable, Sequence
from typing import Final

from clusterapp.http.syntax.response_framing import one_line
from clusterapp.http.syntax.status_line import date_in, last_modified, status_line
from clusterapp.interfaces import Fields

#: The statuses that are answered without a Content-Length (RFC 9110, section 8.6).
_UNMEASURED: Final = frozenset({204, 304})


class OpenFile:
    """
    A file that is read from as long as anybody holds this object.

    :param fd: its descriptor, which is closed with the last reference.
    """

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __del__(self) -> None:
        os.close(self.fd)


class FilePart:
    """
    Some bytes of a file, sent without being read into this process.

    :param file: the file, whose position does not count.
    :param offset: where they begin, in bytes.
    :param length: how many there are.
    """

    __slots__ = ("file", "length", "offset")

    def __init__(self, file: OpenFile, offset: int, length: int) -> None:
        self.file = file
        self.offset = offset
        self.length = length

    def __len__(self) -> int:
        return self.length


class Prepared:
    """
    A response without its Date and Connection fields, which may be sent many times.

    Content-Length is added; fields that frame a message must not be given.

    :param status: the status code.
    :param fields: the fields, in their order and spelling.
    :param parts: the body: bytes, and parts of files. A HEAD gets none of it.
    :param length: the Content-Length, where it is not that of the parts: of a 304,
        or of a HEAD whose body was not made.
    :param modified: the time of a Last-Modified in seconds since the epoch, where it
        may be in the future: then it is the message's Date (RFC 9110, 8.8.2.1).
    :raises ValueError: if a field has a line break or a NUL.
    """

    __slots__ = (
        "_for_header_lines",
        "_modified",
        "_wire",
        "has_files",
        "head",
        "length",
        "parts",
        "status",
    )

    def __init__(
        self,
        status: int,
        fields: Fields,
        parts: Sequence[bytes | FilePart] = (),
        length: int | None = None,
        modified: int | None = None,
    ) -> None:
        self.status = status
        self.parts = tuple(parts)
        self.length = sum(map(len, self.parts)) if length is None else length
        #: Whether some of the body is in files.
        self.has_files = any(isinstance(part, FilePart) for part in self.parts)
        lines = [one_line(b"%b: %b" % field) for field in fields]
        if status not in _UNMEASURED:
            lines.append(b"Content-Length: %d" % self.length)
        #: The status line and the fields, each with its line end.
        self.head = status_line(status) + b"".join(line + b"\r\n" for line in lines)
        self._modified = modified
        self._for_header_lines = b""
        self._wire = b""

    def opening(self, common_header_lines: bytes, *lines: bytes) -> bytes:
        """
        Give the head.

        :param common_header_lines: the fields of every response, each with its line
            end.
        :param lines: more fields, each with its line end.
        """
        if self._modified is not None:
            date = last_modified(self._modified, date_in(common_header_lines))
            lines = (b"Last-Modified: %b\r\n" % date, *lines)
        return b"".join((self.head, common_header_lines, *lines, b"\r\n"))

    def whole(self, common_header_lines: bytes) -> bytes:
        """
        Give all of it, for one that is small and often asked for.

        The last one is remembered, so within a second it is made once.

        :param common_header_lines: the fields of every response, each with its line
            end.
        """
        if common_header_lines is not self._for_header_lines:
            self._wire = b"".join((self.opening(common_header_lines), *self.parts))  # type: ignore[arg-type]
            self._for_header_lines = common_header_lines
        return self._wire


#: Asked before a request is made of a head: its method, target and fields. Gives
#: the answer, or None for what is to go on to the application.
Answer = Callable[[bytes, bytes, Fields], Prepared | None]
