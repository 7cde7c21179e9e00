"""Asking a cluster by its control socket: without Twisted, so that it starts fast."""

import json
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any

from clusterapp.errors import ControlError, RefusedError, UnreachableError

#: Seconds in which a master must begin to answer, if its event loop turns at all.
PATIENCE = 10.0

#: What is said of a server that does not speak as ours do.
_STRANGER = "no master of clusterapp listens there"

_REFUSALS = {HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT}


class Client:
    """
    Asks one cluster; each request has a connection of its own.

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
            connected.settimeout(None)
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
    ) -> Iterator[tuple[HTTPResponse, socket.socket]]:
        """Send a request; give a response that is a success, and its socket."""
        body = None if wanted is None else json.dumps(wanted)
        connection = _UnixConnection(self.path, patience or self._patience)
        with closing(connection):
            try:
                connection.connect()
                connected = connection.sock
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
            document = json.loads(response.read())
        except (OSError, HTTPException, ValueError) as error:
            raise self._unreachable(_reason(error)) from error
        if not isinstance(document, dict):
            raise self._unreachable(_STRANGER)
        return document

    def _error(self, response: HTTPResponse) -> ControlError:
        text = self._document(response).get("error")
        if not isinstance(text, str):
            return self._unreachable(_STRANGER)
        kind = RefusedError if response.status in _REFUSALS else ControlError
        return kind(text)

    def _unreachable(self, reason: str) -> UnreachableError:
        return UnreachableError(f"cannot reach a cluster at {self.path}: {reason}")


class _UnixConnection(HTTPConnection):
    """HTTP on a Unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _lines(response: HTTPResponse) -> Iterator[Mapping[str, Any]]:
    """Read lines of JSON as they come; the last may be broken off."""
    try:
        for line in response:
            yield json.loads(line)
    except (OSError, HTTPException, ValueError):
        return


def _reason(error: Exception) -> str:
    match error:
        case OSError(strerror=str(reason)):
            return reason
        case ValueError():
            return _STRANGER
        case _:
            return str(error)
