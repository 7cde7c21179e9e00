"""Prepared responses, such as those for static files, built before a request."""

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
    Open file whose descriptor is closed with the last reference to this object.

    :param fd: the file descriptor, owned by this object.
    """

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __del__(self) -> None:
        os.close(self.fd)


class FilePart:
    """
    Part of a file, sent without being read into this process.

    :param file: the file, whose file position is not used.
    :param offset: the offset of the part, in bytes.
    :param length: the length of the part, in bytes.
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
    Prepared response without its Date and Connection fields, to be sent many times.

    Content-Length is added; no header field that frames a message may be passed.

    :param status: the status code.
    :param fields: the header fields, in their order and spelling.
    :param parts: the body: bytes, and parts of files. It is not sent for HEAD.
    :param length: the Content-Length, if not the total length of the parts: for a 304,
        or for a HEAD whose body was not made.
    :param modified: the time of a Last-Modified in seconds since the epoch, where it
        may be in the future: then the message's Date is sent (RFC 9110, 8.8.2.1).
    :raises ValueError: if a field contains a line break or a NUL.
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
        #: Whether a part of the body is in a file.
        self.has_files = any(isinstance(part, FilePart) for part in self.parts)
        lines = [one_line(b"%b: %b" % field) for field in fields]
        if status not in _UNMEASURED:
            lines.append(b"Content-Length: %d" % self.length)
        #: The status line and the header lines, each with its CRLF.
        self.head = status_line(status) + b"".join(line + b"\r\n" for line in lines)
        self._modified = modified
        self._for_header_lines = b""
        self._wire = b""

    def opening(self, common_header_lines: bytes, *lines: bytes) -> bytes:
        """
        Return the response head.

        :param common_header_lines: the header lines of every response, with CRLFs.
        :param lines: more header lines, each with its CRLF.
        """
        if self._modified is not None:
            date = last_modified(self._modified, date_in(common_header_lines))
            lines = (b"Last-Modified: %b\r\n" % date, *lines)
        return b"".join((self.head, common_header_lines, *lines, b"\r\n"))

    def whole(self, common_header_lines: bytes) -> bytes:
        """
        Return the whole response, for a small and frequently requested one.

        The result is cached until the common header lines change, so it is built once
        a second.

        :param common_header_lines: the header lines of every response, with CRLFs.
        """
        if common_header_lines is not self._for_header_lines:
            self._wire = b"".join((self.opening(common_header_lines), *self.parts))  # type: ignore[arg-type]
            self._for_header_lines = common_header_lines
        return self._wire


#: Called with the method, target and fields of a request before a request object is
#: made. Returns the prepared response, or None if the application is to answer.
Answer = Callable[[bytes, bytes, Fields], Prepared | None]
