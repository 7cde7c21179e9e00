"""A server on a Unix socket that says what the test has written beforehand."""

import socket
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

#: Nothing that a test waits for takes longer, in seconds.
DEADLINE = 30.0

#: How long a server is silent between the pieces of an answer, in seconds.
SILENCE = 1.0

END = b"\r\n\r\n"


def response(body: str, status: str = "200 OK") -> bytes:
    """Write a whole response."""
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body.encode())}\r\n\r\n"
    return (head + body).encode()


def chunked(*lines: str) -> bytes:
    """Write the beginning of a response that comes line by line."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(
        b"%x\r\n%b\r\n" % (len(line), line.encode()) for line in lines
    )


Answer = bytes | tuple[bytes, ...] | None


class Canned:
    """
    Answers each connection with the next of its answers, and closes it.

    :param path: where it listens.
    :param answers: what to say; the pieces of one that comes with silences; None
        for a silence until the client leaves.
    :ivar requests: what has come.
    """

    def __init__(self, path: str, *answers: Answer) -> None:
        self.requests: list[bytes] = []
        self._answers = answers
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(path)
        self._listening.listen()
        self._listening.settimeout(DEADLINE)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop, once every answer was given."""
        self._thread.join(DEADLINE)
        self._listening.close()

    def _serve(self) -> None:
        for answer in self._answers:
            connection, _ = self._listening.accept()
            with connection:
                connection.settimeout(DEADLINE)
                self.requests.append(_request(connection))
                # Who looks whether somebody listens wants no answer.
                with suppress(ConnectionError):
                    _say(connection, answer)


def _say(connection: socket.socket, answer: Answer) -> None:
    if answer is None:
        connection.recv(1)
        return
    pieces = answer if isinstance(answer, tuple) else (answer,)
    for piece in pieces[:-1]:
        connection.sendall(piece)
        connection.settimeout(SILENCE)
        with suppress(TimeoutError):
            connection.recv(1)
    connection.sendall(pieces[-1])


def _request(connection: socket.socket) -> bytes:
    """Read a request and the body that it announces."""
    data = b""
    while END not in data:
        piece = connection.recv(65_536)
        if not piece:
            return data
        data += piece
    head, _, body = data.partition(END)
    for line in head.lower().split(b"\r\n"):
        name, _, value = line.partition(b": ")
        if name == b"content-length":
            while len(body) < int(value):
                body += connection.recv(65_536)
    return head + END + body


class CannedCase(SynchronousTestCase):
    """A folder for sockets, and what serves on them."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="clusterapp-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.path = str(self.folder / "control.sock")

    def serve(self, *answers: Answer, path: str = "") -> Canned:
        """Serve these, one after the other; all of them must be asked for."""
        server = Canned(path or self.path, *answers)
        self.addCleanup(server.close)
        return server
