"""Whose sockets are used that the operator has not named: those of whom one trusts."""

import os
import stat
from collections.abc import Collection
from pathlib import Path

#: Who may write in a folder without owning it.
_OTHERS = stat.S_IWGRP | stat.S_IWOTH


class DistrustError(Exception):
    """A file or a folder is another user's, or could be; the text says why."""


def check_folder(folder: Path, users: Collection[int]) -> None:
    """
    Make sure that nobody else can put, or replace, files in a folder.

    :param users: the users that are trusted.
    :raise DistrustError: if somebody else can.
    :raise OSError: if it cannot be looked at.
    """
    _check_owner(folder, os.lstat(folder), users)  # of a symbolic link, too
    found = folder.stat()
    _check_owner(folder, found, users)
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(f"{folder} is not a folder")
    # In a sticky folder nobody removes or renames what is not his own (chmod(2)).
    if found.st_mode & _OTHERS and not found.st_mode & stat.S_ISVTX:
        raise DistrustError(f"others can write to {folder}")


def check_socket(path: Path, users: Collection[int]) -> bool:
    """
    Make sure that a socket was put there by a user that is trusted.

    :param path: its path, perhaps a symbolic link to it.
    :param users: the users that are trusted.
    :return: whether there is a socket.
    :raise DistrustError: if somebody else has put it there, or could replace it. (A
        link may lead to a folder of others, as `--control` may: who listens there
        is asked of the kernel.)
    :raise OSError: if it cannot be looked at.
    """
    check_folder(path.parent, users)
    _check_owner(path, os.lstat(path), users)
    found = path.stat()
    _check_owner(path, found, users)
    return stat.S_ISSOCK(found.st_mode)


def check_peer(path: Path, user: int, users: Collection[int]) -> None:
    """
    Make sure that a trusted user listens.

    :param path: the path of the socket.
    :param user: who listens there, as the kernel says (SO_PEERCRED, unix(7)).
    :param users: the users that are trusted.
    :raise DistrustError: if somebody else does.
    """
    if user not in users:
        raise DistrustError(f"user {user} listens at {path}")


def _check_owner(path: Path, found: os.stat_result, users: Collection[int]) -> None:
    if found.st_uid not in users:
        raise DistrustError(f"{path} belongs to user {found.st_uid}")
