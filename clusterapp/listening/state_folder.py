"""The state folder: the private files and sockets of a running cluster."""

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from clusterapp.errors import ListenError
from clusterapp.system.regular import from_start_folder

#: The longest path of a Unix socket in bytes, less its final NUL (unix(7)).
LONGEST_SOCKET_PATH = 107


#: The device and the inode of a file.
Identity = tuple[int, int]


@dataclass
class _HeldFolder:
    """
    A socket or a symbolic link in the folder, which can be made again.

    :param identity: the file at its path as long as it was not replaced.
    :param descriptor: an O_PATH descriptor, by which a socket can be connected to when
        its path is gone; None for a symbolic link.
    :param target: the target of a symbolic link in its place.
    """

    identity: Identity
    descriptor: int | None
    target: str


def default_state(environ: Mapping[str, str]) -> Path:
    """Return the default state folder."""
    runtime = environ.get("XDG_RUNTIME_DIR")
    if runtime:
        return Path(runtime) / "clusterapp"
    if os.geteuid() == 0 and Path("/run").is_dir():
        return Path("/run/clusterapp")
    return Path(tempfile.gettempdir()) / f"clusterapp-{os.geteuid()}"


class StateFolder:
    """
    A private folder of this process inside the state folder.

    It is locked while the process lives, so that the next process can distinguish a
    folder in use from one that a killed process left behind, which it removes. If the
    folder is removed meanwhile, for example by a cleaner of /tmp, `restore` makes it
    again.
    """

    def __init__(self, base: Path) -> None:
        """
        Create the folder.

        :param base: the state folder; created if it does not exist.
        :raise ListenError: if it cannot be made, or belongs to another user.
        """
        # Workers may run in another folder, and that of the master may be removed.
        self.base = base = Path(from_start_folder(base)).absolute()
        self._held: dict[str, _HeldFolder] = {}
        self._folders: set[str] = set()
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
        Return the path of a private socket.

        :raise ListenError: if the path is longer than the kernel allows.
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
        Create a private folder in this one, and return its path.

        :raise ListenError: if it cannot be created.
        """
        path = self.path / name
        try:
            path.mkdir(mode=0o700)
        except OSError as error:
            raise ListenError(f"cannot make the folder {path}: {error}") from error
        self._folders.add(name)
        return str(path)

    def remove_folder(self, name: str) -> None:
        """Remove a private folder, with all that is in it."""
        self._folders.discard(name)
        shutil.rmtree(self.path / name, ignore_errors=True)

    def hold(self, name: str) -> None:
        """
        Register a private socket, or a symbolic link in its place, with `restore`.

        :param name: the name given to `socket`; the socket must exist by now.
        :raise ListenError: if it does not exist, or no descriptor is left.
        """
        path = self.socket(name)
        if name in self._held:
            self._let_go(self._held.pop(name))
        try:
            self._held[name] = _hold(path)
        except OSError as error:
            raise ListenError(f"cannot hold unix:{path}: {error}") from error

    def restore(self) -> list[str]:
        """
        Recreate what was removed or replaced: the folder, and its contents.

        Processes have inherited the listening sockets, and a socket is bound only once.
        So its path becomes a symbolic link to this process's descriptor of it, in
        /proc.

        :return: the paths that were recreated; empty if nothing was missing.
        :raise ListenError: if that fails, or is not safe.
        """
        try:
            return [*self._restore_folder(), *self._restore_sockets()]
        except OSError as error:
            raise ListenError(f"cannot make {self.path} again: {error}") from error

    def remove(self) -> None:
        """Remove the folder and all that is in it."""
        # What cannot be removed now is removed by the next process.
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)
        for held in self._held.values():
            self._let_go(held)
        self._held.clear()

    def _restore_folder(self) -> Iterator[str]:
        locked = os.fstat(self._lock)
        if _identity(self.path / "lock") != (locked.st_dev, locked.st_ino):
            self.base.mkdir(mode=0o700, parents=True, exist_ok=True)
            _check_owner(self.base)
            with _alone_in(self.base):
                self.path.mkdir(mode=0o700, exist_ok=True)
                _check_owner(self.path)
                before, self._lock = self._lock, _lock_in(self.path)
                os.close(before)
            yield str(self.path)
        for name in sorted(self._folders):
            folder = self.path / name
            if not folder.is_dir():
                folder.mkdir(mode=0o700)
                yield str(folder)

    def _restore_sockets(self) -> Iterator[str]:
        for name, held in self._held.items():
            path = self.socket(name)
            if _identity(Path(path)) == held.identity:
                continue
            if held.descriptor is not None:
                _check_reachable(path)
            # Made beside the path and renamed: a file may be at the path.
            beside = f"{path}.new"
            Path(beside).unlink(missing_ok=True)
            Path(beside).symlink_to(held.target)
            Path(beside).replace(path)
            found = os.lstat(path)
            held.identity = found.st_dev, found.st_ino
            yield path

    @staticmethod
    def _let_go(held: _HeldFolder) -> None:
        if held.descriptor is not None:
            os.close(held.descriptor)


def _hold(path: str) -> _HeldFolder:
    found = os.lstat(path)
    identity = found.st_dev, found.st_ino
    if stat.S_ISLNK(found.st_mode):
        return _HeldFolder(identity, None, str(Path(path).readlink()))
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW)
    return _HeldFolder(identity, descriptor, f"/proc/{os.getpid()}/fd/{descriptor}")


def _check_reachable(path: str) -> None:
    """
    Raise an error unless the children may use this process's descriptors.

    Those of a process that has changed its user belong to root: proc(5),
    PR_SET_DUMPABLE.
    """
    if Path("/proc/self/fd").stat().st_uid != os.geteuid():
        raise ListenError(
            f"{path} was removed, and the sockets of a master that has changed its"
            " user cannot be reached otherwise: stop the cluster and start it again"
        )


def _identity(path: Path) -> Identity | None:
    """Return the device and inode of a path; None if there is no file."""
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino


def _check_owner(base: Path) -> None:
    """Raise an error if another user could put sockets into a folder."""
    found = base.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise ListenError(f"the state folder {base} is not a folder")
    if found.st_uid != os.geteuid():
        raise ListenError(f"the state folder {base} belongs to another user")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ListenError(f"the state folder {base} can be written to by others")


@contextmanager
def _alone_in(base: Path) -> Iterator[None]:
    """Lock out other processes, which could remove a new folder before it is locked."""
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
