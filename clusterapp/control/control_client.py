"""Asking a cluster by its control socket: without Twisted, so that it starts fast."""

import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from time import monotonic
from typing import Any

from clusterapp.control.peer_credentials import peer_of
from clusterapp.errors import (
    ControlError,
    RefusedError,
    UnreachableError,
    WrongRequestError,
)

#: Seconds in which a master must begin to answer, if its event loop turns at all.
PATIENCE = 10.0

#: Bytes that the answer to a request may have; those of an operation's steps may be
#: more, since none of them is kept.
LONGEST_ANSWER = 16 * 1024**2

#: Bytes that the line of one step, or of the verdict, may have.
LONGEST_LINE = 1024**2

_PIECE = 65_536

#: What is said of a server that does not speak as ours do.
_STRANGER = "no master of clusterapp listens there"

#: What the answers that are errors mean; others are those of the master itself.
_ERRORS: dict[int, type[ControlError]] = {
    HTTPStatus.BAD_REQUEST: WrongRequestError,
    HTTPStatus.NOT_FOUND: RefusedError,
    HTTPStatus.CONFLICT: RefusedError,
}


class Client:
    """
    Asks one cluster; each request has a connection of its own.

    Whoever listens is believed only if it is root, the owner of the socket, or the
    user who asks; and whatever it sends, neither time nor memory is without a bound.

    Every method raises `RefusedError` if the cluster refuses, `UnreachableError` if
    it does not answer, and `ControlError` for all else that is no success.

    :param path: the path of the control socket.
    :param patience: seconds to wait for the beginning of an answer.
    """

    def __init__(self, path: str, patience: float = PATIENCE) -> None:
        self.path = path
        self._patience = patience

    def get(self, target: str) -> Mapping[str, Any]:
        """Get a JSON document."""
        with self._answer("GET", target, None) as (response, _):
            return self._document(response)

    def post(self, target: str, patience: float | None = None) -> Mapping[str, Any]:
        """
        Ask for something that one JSON document answers.

        :param patience: seconds to wait for it, if not those of the others.
        """
        with self._answer("POST", target, None, patience) as (response, _):
            return self._document(response)

    def follow(
        self,
        target: str,
        tell: Callable[[Mapping[str, Any]], object],
        wanted: Mapping[str, Any] | None = None,
    ) -> Mapping[str, Any]:
        """
        Begin an operation, and wait for its end.

        :param tell: hears of each step as it happens.
        :param wanted: what is asked for in particular.
        :return: the line with the verdict.
        """
        with self._answer("POST", target, wanted) as (response, connected):
            # It has begun; now it may take as long as it needs.
            connected.unbound()
            for line in _lines(response):
                if "verdict" in line:
                    return line
                tell(line)
        raise ControlError("the master has left before it gave a verdict")

    @contextmanager
    def _answer(
        self,
        method: str,
        target: str,
        wanted: Mapping[str, Any] | None,
        patience: float | None = None,
    ) -> Iterator[tuple[HTTPResponse, "_BoundedSocket"]]:
        """Send a request; give a response that is a success, and its socket."""
        body = None if wanted is None else json.dumps(wanted)
        connection = _UnixConnection(self.path, patience or self._patience)
        with closing(connection):
            try:
                connection.connect()
                connected = connection.bounded
                connection.request(method, target, body)
                response = connection.getresponse()
            except TimeoutError as error:
                raise self._unreachable("it does not answer") from error
            except (OSError, HTTPException) as error:
                raise self._unreachable(_reason(error)) from error
            with response:
                if response.status != HTTPStatus.OK:
                    raise self._error(response)
                yield response, connected

    def _document(self, response: HTTPResponse) -> Mapping[str, Any]:
        try:
            document = json.loads(_whole(response))
        except TimeoutError as error:
            raise self._unreachable("it does not answer") from error
        except (OSError, HTTPException, ValueError, RecursionError) as error:
            raise self._unreachable(_reason(error)) from error
        if not isinstance(document, dict):
            raise self._unreachable(_STRANGER)
        return document

    def _error(self, response: HTTPResponse) -> ControlError:
        text = self._document(response).get("error")
        if not isinstance(text, str):
            return self._unreachable(_STRANGER)
        return _ERRORS.get(response.status, ControlError)(text)

    def _unreachable(self, reason: str) -> UnreachableError:
        return UnreachableError(f"cannot reach a cluster at {self.path}: {reason}")


class _BoundedSocket(socket.socket):
    """
    A Unix socket from which so much can be read until a certain time, and no more.

    A timeout alone bounds the wait for one piece, not for a whole answer that comes
    byte by byte.

    :param seconds: the time for everything that is read.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(socket.AF_UNIX, socket.SOCK_STREAM)
        self.settimeout(seconds)
        self._deadline: float | None = monotonic() + seconds
        self._left: int | None = LONGEST_ANSWER

    def unbound(self) -> None:
        """Let all that follows take as long, and be as much, as it is."""
        self._deadline = self._left = None
        self.settimeout(None)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """
        Read; `http.client` reads by this alone (`socket.makefile`).

        :raise TimeoutError: if the time is over.
        :raise HTTPException: if it is more than an answer may be.
        """
        if self._deadline is not None:
            left = self._deadline - monotonic()
            if left <= 0:
                raise TimeoutError
            self.settimeout(left)
        count = super().recv_into(buffer, nbytes, flags)
        if self._left is not None:
            self._left -= count
            if self._left < 0:
                raise HTTPException(f"the answer has more than {LONGEST_ANSWER} bytes")
        return count


class _UnixConnection(HTTPConnection):
    """HTTP on a Unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path
        self._patience = timeout

    def connect(self) -> None:
        """
        Connect.

        :raise PermissionError: if a user listens that is not to be trusted.
        """
        self.sock = self.bounded = _BoundedSocket(self._patience)
        self.sock.connect(self._path)
        user, owner = peer_of(self.sock).uid, Path(self._path).stat().st_uid
        if user not in {0, os.geteuid(), owner}:
            raise PermissionError(0, f"user {user} listens there, who does not own it")


def _whole(response: HTTPResponse) -> bytes:
    """Read a response in pieces: for its length in one, it would reserve memory."""
    return b"".join(iter(lambda: response.read(_PIECE), b""))


def _lines(response: HTTPResponse) -> Iterator[Mapping[str, Any]]:
    """Read lines of JSON as they come; the last may be broken off."""
    try:
        while line := response.readline(LONGEST_LINE):
            document = json.loads(line)
            if not isinstance(document, dict):
                return
            yield document
    except (OSError, HTTPException, ValueError, RecursionError):
        return


def _reason(error: Exception) -> str:
    match error:
        case OSError(strerror=str(reason)):
            return reason
        case ValueError():
            return _STRANGER
        case _:
            return str(error)
