"""
Reading files named by an operator or an application, within an event loop.

Opening a FIFO blocks until it has a writer, and reading a device may block forever, or
never reach an end. So only regular files are read, and they are opened without
blocking.

Relative paths are in the folder that the process was started in. The working folder
cannot be used for that: an application may change it, and it has no path any more once
it has been removed, even if it was made anew.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike

#: The most bytes of a file: no certificate, key or settings file is larger.
MOST_BYTES = 16 * 1024**2

_start_folder = ""


def set_start_folder(folder: str) -> None:
    """
    Set the folder that relative paths are in; called before application code runs.

    :param folder: its absolute path. Without it, relative paths are in the working
        folder, as in a program that embeds a cluster.
    """
    global _start_folder  # noqa: PLW0603 - a process has one, as a working folder
    _start_folder = folder


def from_start_folder(path: str | PathLike[str]) -> str:
    """Return a path of the settings, by which its file can be opened at any time."""
    return os.path.join(_start_folder, path)  # noqa: PTH118


@contextmanager
def opened(path: str | PathLike[str]) -> Iterator[int]:
    """
    Open a regular file for reading.

    :param path: its path, by the start folder; symbolic links are followed.
    :return: a context with its descriptor, which is closed at the end. By
        ``/proc/self/fd/N`` other code can open that file, and no other one.
    :raise OSError: if it cannot be opened, or is not a regular file.
    """
    # O_NONBLOCK has no effect on regular files (open(2)).
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    descriptor = os.open(from_start_folder(path), flags)
    try:
        kind = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(kind):
            code = errno.EISDIR
            raise IsADirectoryError(code, os.strerror(code), os.fspath(path))
        if not stat.S_ISREG(kind):
            raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
        yield descriptor
    finally:
        os.close(descriptor)


def read_regular(path: str | PathLike[str], most: int = MOST_BYTES) -> bytes:
    """
    Read a regular file.

    :param path: its path; symbolic links are followed.
    :param most: the most bytes that it may have.
    :raise OSError: if it cannot be read, is not a regular file, or is larger.
    """
    with opened(path) as descriptor, open(descriptor, "rb", closefd=False) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"more than {most} bytes", os.fspath(path))
    return content


def check_writable(path: str | PathLike[str]) -> None:
    """
    Check that a file can be appended to, or created, without doing either.

    :raise OSError: if it cannot.
    """
    try:
        os.close(
            os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC)
        )
    except FileNotFoundError:
        folder = os.path.dirname(os.path.abspath(path))  # noqa: PTH100, PTH120
        if not os.access(folder, os.F_OK):
            raise
        if not os.access(folder, os.W_OK | os.X_OK):
            code = errno.EACCES
            raise PermissionError(code, os.strerror(code), folder) from None
