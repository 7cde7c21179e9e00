"""The body of a request that is served when all of it has come."""

from io import BytesIO
from tempfile import TemporaryFile
from typing import BinaryIO, cast

from clusterapp.http.limits import BODY_IN_MEMORY


class Content:
    """
    Gathers a body: in memory while it is small, else in a file without a name.

    :param length: how long it will be, in bytes; None if that is not known.
    """

    __slots__ = ("_file", "_in_memory")

    def __init__(self, length: int | None) -> None:
        self._in_memory = length is None or length <= BODY_IN_MEMORY
        self._file: BinaryIO = BytesIO() if self._in_memory else _on_disk()

    def add(self, piece: bytes) -> None:
        """Add a piece."""
        self._file.write(piece)
        if self._in_memory and self._file.tell() > BODY_IN_MEMORY:
            self._in_memory = False
            on_disk = _on_disk()
            on_disk.write(cast("BytesIO", self._file).getbuffer())
            self._file = on_disk

    def file(self) -> BinaryIO:
        """Give what has come, from its beginning; a closed file if it is closed."""
        if not self._file.closed:
            self._file.seek(0)
        return self._file

    def whole(self) -> bytes:
        """Read all that has come; the file stays where it stands."""
        place = self._file.tell()
        self._file.seek(0)
        body = self._file.read()
        self._file.seek(place)
        return body

    def close(self) -> None:
        """Throw it away."""
        self._file.close()


def _on_disk() -> BinaryIO:
    # Closed by the request that it becomes a part of.
    return cast("BinaryIO", TemporaryFile())
