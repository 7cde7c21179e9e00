"""The state folder: where a running cluster keeps what is private to it."""

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from clusterapp.errors import ListenError

#: The longest path of a Unix socket, less its final NUL (unix(7)).
LONGEST_SOCKET_PATH = 107


def default_state(environ: Mapping[str, str]) -> Path:
    """Tell where state is kept if the operator does not say."""
    runtime = environ.get("XDG_RUNTIME_DIR")
    if runtime:
        return Path(runtime) / "clusterapp"
    if os.geteuid() == 0 and Path("/run").is_dir():
        return Path("/run/clusterapp")
    return Path(tempfile.gettempdir()) / f"clusterapp-{os.geteuid()}"


class StateFolder:
    """
    A folder of this process's own inside the state folder.

    It is locked while the process lives, so that the next one can tell a folder
    in use from what a killed one left behind, which it removes.
    """

    def __init__(self, base: Path) -> None:
        """
        Make the folder.

        :param base: the state folder; made if it is not there.
        :raise ListenError: if it cannot be made, or belongs to somebody else.
        """
        try:
            base.mkdir(mode=0o700, parents=True, exist_ok=True)
            _check_owner(base)
            with _alone_in(base):
                _remove_left_behind(base)
                self.path = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=base))
                self._lock = _lock_in(self.path)
        except OSError as error:
            raise ListenError(f"cannot use the state folder {base}: {error}") from error

    def socket(self, name: str) -> str:
        """
        Tell the path of a private socket.

        :raise ListenError: if the path is longer than the kernel takes.
        """
        path = str(self.path / f"{name}.sock")
        if len(os.fsencode(path)) > LONGEST_SOCKET_PATH:
            raise ListenError(
                f"the state folder's path is too long for a socket: {path}"
                f" has more than {LONGEST_SOCKET_PATH} bytes"
            )
        return path

    def folder(self, name: str) -> str:
        """
        Make a private folder in this one, and tell its path.

        :raise ListenError: if it cannot be made.
        """
        path = self.path / name
        try:
            path.mkdir(mode=0o700)
        except OSError as error:
            raise ListenError(f"cannot make the folder {path}: {error}") from error
        return str(path.absolute())

    def remove(self) -> None:
        """Remove the folder and all that is in it."""
        # What cannot be removed now is removed by the next process.
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def _check_owner(base: Path) -> None:
    """Make sure that nobody else can put sockets where ours are looked for."""
    found = base.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise ListenError(f"the state folder {base} is not a folder")
    if found.st_uid != os.geteuid():
        raise ListenError(f"the state folder {base} belongs to another user")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ListenError(f"the state folder {base} can be written to by others")


@contextmanager
def _alone_in(base: Path) -> Iterator[None]:
    """Keep others from cleaning up before a new folder is locked."""
    held = os.open(base, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


def _lock_in(folder: Path) -> int:
    lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def _remove_left_behind(base: Path) -> None:
    for lock in base.glob("*/lock"):
        # A folder that is gone by now was removed by its own process.
        with suppress(BlockingIOError, FileNotFoundError), lock.open("r+b") as held:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent, ignore_errors=True)
