"""The HTTP client of the control socket: without Twisted, so that it starts fast."""

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

#: The seconds in which a master must begin to respond if its event loop runs.
TIMEOUT = 10.0

#: The most bytes of a response; the steps of an operation may exceed it, since they are
#: not kept.
LONGEST_ANSWER = 16 * 1024**2

#: The most bytes of the line of one step, or of the verdict.
LONGEST_LINE = 1024**2

_PIECE = 65_536

#: The error for a server whose responses are not a master's.
_STRANGER = "no master of clusterapp listens there"

#: The exceptions for statuses of errors; other statuses are failures of the master.
_ERRORS: dict[int, type[ControlError]] = {
    HTTPStatus.BAD_REQUEST: WrongRequestError,
    HTTPStatus.NOT_FOUND: RefusedError,
    HTTPStatus.CONFLICT: RefusedError,
}


class Client:
    """
    A client of one cluster; each request has a connection of its own.

    A server is trusted only if its user is root, the owner of the socket, or the user
    of this process; and time and memory are bounded whatever it sends.

    Every method raises `RefusedError` if the cluster refuses, `UnreachableError` if it
    does not respond, and `ControlError` for every other status than success.

    :param path: the path of the control socket.
    :param timeout: the seconds to wait for the beginning of a response.
    """

    def __init__(self, path: str, timeout: float = TIMEOUT) -> None:
        self.path = path
        self._timeout = timeout

    def get(self, target: str) -> Mapping[str, Any]:
        """Get a JSON document."""
        with self._answer("GET", target, None) as (response, _):
            return self._document(response)

    def post(self, target: str, timeout: float | None = None) -> Mapping[str, Any]:
        """
        Send a POST request whose response is one JSON document.

        :param timeout: the seconds to wait for it, if not the client's default.
        """
        with self._answer("POST", target, None, timeout) as (response, _):
            return self._document(response)

    def follow(
        self,
        target: str,
        tell: Callable[[Mapping[str, Any]], object],
        wanted: Mapping[str, Any] | None = None,
    ) -> Mapping[str, Any]:
        """
        Start an operation, and wait for its end.

        :param tell: called with each step as it happens.
        :param wanted: the parameters of the operation.
        :return: the line with the verdict.
        """
        with self._answer("POST", target, wanted) as (response, connected):
            # The operation has started; from here on it has no timeout.
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
        timeout: float | None = None,
    ) -> Iterator[tuple[HTTPResponse, "_BoundedSocket"]]:
        """Send a request; yield a successful response, and its socket."""
        body = None if wanted is None else json.dumps(wanted)
        connection = _UnixConnection(self.path, timeout or self._timeout)
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
    A Unix socket with a deadline and a limit for everything that is read.

    A timeout alone bounds the wait for one piece, not for a whole response that arrives
    byte by byte.

    :param seconds: the time for everything that is read.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(socket.AF_UNIX, socket.SOCK_STREAM)
        self.settimeout(seconds)
        self._deadline: float | None = monotonic() + seconds
        self._left: int | None = LONGEST_ANSWER

    def unbound(self) -> None:
        """Remove the deadline and the limit for everything that follows."""
        self._deadline = self._left = None
        self.settimeout(None)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """
        Read; `http.client` reads only by this method (`socket.makefile`).

        :raise TimeoutError: if the deadline has passed.
        :raise HTTPException: if the limit of a response is exceeded.
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
    """An HTTP connection over a Unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path
        self._timeout = timeout

    def connect(self) -> None:
        """
        Connect.

        :raise PermissionError: if the server's user is not trusted.
        """
        self.sock = self.bounded = _BoundedSocket(self._timeout)
        self.sock.connect(self._path)
        user, owner = peer_of(self.sock).uid, Path(self._path).stat().st_uid
        if user not in {0, os.geteuid(), owner}:
            raise PermissionError(0, f"user {user} listens there, who does not own it")


def _whole(response: HTTPResponse) -> bytes:
    """Read a response in pieces: one read of its length would reserve that memory."""
    return b"".join(iter(lambda: response.read(_PIECE), b""))


def _lines(response: HTTPResponse) -> Iterator[Mapping[str, Any]]:
    """Yield the received lines of JSON; an incomplete or invalid line ends them."""
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
