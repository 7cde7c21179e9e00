"""Binding the path of the control socket, and taking it over in an upgrade."""

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
    Listen on a path at which a killed master may have left a socket.

    :param path: the path of the socket.
    :param replace: whether to take it over from a running master.
    :raise ListenError: if it cannot be bound; the text names it.
    """
    return take_over(bind_beside(path), path) if replace else bind(path)


def bind(path: str) -> Listener:
    """
    Listen on a path on which no running master listens.

    :raise ListenError: if it cannot be bound; the text names it.
    """
    _check_length(path)
    return _listen(path, path)


def bind_beside(path: str) -> Listener:
    """
    Listen beside a path that a running master may use.

    :return: the listener for `take_over`.
    :raise ListenError: if the path cannot be taken over later; the text names it.
    """
    _check_length(path)
    _check_kind(path)
    return _listen(str(Path(path).with_name(f".{os.getpid()}")), path)


def take_over(listener: Listener, path: str) -> Listener:
    """
    Rename a socket that is beside a path, so that there is one at any time.

    :param listener: the result of `bind_beside`; it is closed if this fails.
    :return: the listener with its new name.
    :raise ListenError: if that fails; the text names the path.
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
    """Listen at a path; errors name the path that the operator has given."""
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
    """Raise an error instead of renaming over a file that is not a socket."""
    try:
        kind = os.lstat(path).st_mode
    except OSError:
        return  # then the renaming succeeds, or fails with the reason
    if not stat.S_ISSOCK(kind):
        raise _refusal(path, "it is not a socket")


def _refusal(path: str, reason: str) -> ListenError:
    return ListenError(f"cannot listen on the control socket {path}: {reason}")
