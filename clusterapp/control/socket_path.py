"""Taking the path of the control socket."""

import errno
import os
import stat
from dataclasses import replace as changed
from pathlib import Path

from clusterapp.errors import ListenError
from clusterapp.listening.listen_sockets import Listener, listen
from clusterapp.listening.state_folder import LONGEST_SOCKET_PATH
from clusterapp.settings.listen import UnixListen

#: Only the master's user, and root, may connect.
_MODE = 0o600


def take(path: str, *, replace: bool) -> Listener:
    """
    Listen on a path that a killed master may have left a socket at.

    :param path: the path of the socket.
    :param replace: whether to take it from a living master.
    :raise ListenError: if it cannot be had; the text names it.
    """
    return take_over(bind_beside(path), path) if replace else bind(path)


def bind(path: str) -> Listener:
    """
    Listen on a path where no living master does.

    :raise ListenError: if it cannot be had; the text names it.
    """
    _check_length(path)
    return _listen(path, path)


def bind_beside(path: str) -> Listener:
    """
    Listen beside a path, which a living master may have.

    :return: what `take_over` puts into its place.
    :raise ListenError: if the path cannot be had later on; the text names it.
    """
    _check_length(path)
    _check_kind(path)
    return _listen(str(Path(path).with_name(f".{os.getpid()}")), path)


def take_over(listener: Listener, path: str) -> Listener:
    """
    Rename a socket that is beside a path, so that clients find one at any time.

    :param listener: what `bind_beside` has given; it is closed if this fails.
    :return: the listener, by its new name.
    :raise ListenError: if that cannot be done; the text names the path.
    """
    assert listener.path is not None  # noqa: S101 - it was bound beside a path
    try:
        Path(listener.path).rename(path)
    except OSError as error:
        listener.close()
        raise _refusal(path, error.strerror or str(error)) from error
    return changed(listener, name=path, path=path)


def _check_length(path: str) -> None:
    if len(os.fsencode(path)) > LONGEST_SOCKET_PATH:
        raise ListenError(
            f"cannot listen on the control socket {path}: the path has more than"
            f" {LONGEST_SOCKET_PATH} bytes"
        )


def _listen(at: str, path: str) -> Listener:
    """Listen at a path; say what is wrong of the one that the operator knows."""
    try:
        return listen(UnixListen(at, _MODE), {})
    except ListenError as error:
        cause = error.__cause__
        if not isinstance(cause, OSError):
            raise
        reason = cause.strerror or str(cause)
        if cause.errno == errno.EADDRINUSE:
            reason = "a running master listens there"
        raise _refusal(path, reason) from error


def _check_kind(path: str) -> None:
    """Refuse to rename over what is no socket."""
    try:
        kind = os.lstat(path).st_mode
    except OSError:
        return  # then it is the renaming that goes well, or tells why not
    if not stat.S_ISSOCK(kind):
        raise _refusal(path, "it is not a socket")


def _refusal(path: str, reason: str) -> ListenError:
    return ListenError(f"cannot listen on the control socket {path}: {reason}")
