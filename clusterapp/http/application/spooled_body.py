"""The body of a request that is buffered before the request is served."""

from io import BytesIO
from tempfile import TemporaryFile
from typing import BinaryIO, cast

from clusterapp.http.connection_limits import BODY_IN_MEMORY


class Content:
    """
    Buffers a body: in memory while it is small, else in an unnamed temporary file.

    :param length: the length of the body in bytes; None if it is not known.
    """

    __slots__ = ("_file", "_in_memory")

    def __init__(self, length: int | None) -> None:
        self._in_memory = length is None or length <= BODY_IN_MEMORY
        self._file: BinaryIO = BytesIO() if self._in_memory else _on_disk()

    def add(self, piece: bytes) -> None:
        """Add a piece of the body."""
        self._file.write(piece)
        if self._in_memory and self._file.tell() > BODY_IN_MEMORY:
            self._in_memory = False
            on_disk = _on_disk()
            on_disk.write(cast("BytesIO", self._file).getbuffer())
            self._file = on_disk

    def file(self) -> BinaryIO:
        """Return the file, positioned at its start; a closed file if it is closed."""
        if not self._file.closed:
            self._file.seek(0)
        return self._file

    def whole(self) -> bytes:
        """Return all bytes so far; the position of the file is kept."""
        place = self._file.tell()
        self._file.seek(0)
        body = self._file.read()
        self._file.seek(place)
        return body

    def close(self) -> None:
        """Discard the body."""
        self._file.close()


def _on_disk() -> BinaryIO:
    # Closed by the request that owns it.
    return cast("BinaryIO", TemporaryFile())
