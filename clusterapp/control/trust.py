"""Trust in sockets that the operator has not named: checks of their owners."""

import os
import stat
from collections.abc import Collection
from pathlib import Path

#: The permissions of other users to write to a folder.
_OTHERS = stat.S_IWGRP | stat.S_IWOTH


class DistrustError(Exception):
    """
    A file or a folder belongs, or could belong, to another user; the text has the
    reason.
    """


def check_folder(folder: Path, users: Collection[int]) -> None:
    """
    Check that other users can neither create nor replace files in a folder.

    :param users: the trusted users.
    :raise DistrustError: if another user can.
    :raise OSError: if it cannot be examined.
    """
    _check_owner(folder, os.lstat(folder), users)  # of a symbolic link, too
    found = folder.stat()
    _check_owner(folder, found, users)
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(f"{folder} is not a folder")
    # In a sticky folder users can only remove or rename their own files (chmod(2)).
    if found.st_mode & _OTHERS and not found.st_mode & stat.S_ISVTX:
        raise DistrustError(f"others can write to {folder}")


def check_socket(path: Path, users: Collection[int]) -> bool:
    """
    Check that a socket was created by a trusted user.

    :param path: its path, perhaps a symbolic link to it.
    :param users: the trusted users.
    :return: whether there is a socket.
    :raise DistrustError: if another user has created it, or could replace it. (A link
        may point to a folder of other users, as `--control` may: the listening user is
        read from the kernel.)
    :raise OSError: if it cannot be examined.
    """
    check_folder(path.parent, users)
    _check_owner(path, os.lstat(path), users)
    found = path.stat()
    _check_owner(path, found, users)
    return stat.S_ISSOCK(found.st_mode)


def check_peer(path: Path, user: int, users: Collection[int]) -> None:
    """
    Check that a trusted user listens.

    :param path: the path of the socket.
    :param user: the listening user, as reported by the kernel (SO_PEERCRED, unix(7)).
    :param users: the trusted users.
    :raise DistrustError: if another user listens.
    """
    if user not in users:
        raise DistrustError(f"user {user} listens at {path}")


def _check_owner(path: Path, found: os.stat_result, users: Collection[int]) -> None:
    if found.st_uid not in users:
        raise DistrustError(f"{path} belongs to user {found.st_uid}")
