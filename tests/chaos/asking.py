"""
One HTTP client on raw sockets that forgives nothing.

It asks one request at a time, keeps its connection or not, sends nothing twice, and
says of each request that is not answered, whole and well, what has become of it.
"""

import asyncio
import re
import socket
from dataclasses import dataclass
from typing import Literal

#: What may become of a request that is not answered:
#:
#: - ``refused``: no connection could be made;
#: - ``dropped``: the connection that was kept had been closed, with no word in the
#:   response before, when the client wanted to use it again;
#: - ``closed``: the connection was closed before the first byte of the response;
#: - ``reset``: the same, by a reset;
#: - ``cut``: the response was broken off;
#: - ``wrong``: another status, another body, or no HTTP;
#: - ``late``: it has taken too long.
Kind = Literal["refused", "dropped", "closed", "reset", "cut", "wrong", "late"]

_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) [^\r\n]*")
_CHUNK = re.compile(rb"([0-9a-fA-F]{1,8})(?:;.*)?")
_MOST_HEAD = 65_536

#: The port is chosen when it is known who is connected to (ip(7)), so that there are
#: as many for each server.
_BIND_WITHOUT_PORT = 24


class AskingError(Exception):
    """
    A request was not answered.

    :param kind: what has become of it.
    :param detail: the same, with more words.
    """

    def __init__(self, kind: Kind, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind: Kind = kind
        self.detail = detail


@dataclass(frozen=True)
class Response:
    """
    A whole response.

    :param status: its status.
    :param body: its body, without chunks' sizes.
    :param closes: whether it says that its connection ends with it.
    """

    status: int
    body: bytes
    closes: bool


class Asker:
    """
    One client, with at most one connection.

    :param port: where to connect to, on the loopback interface.
    :param address: where to connect from.
    :ivar connections: how many connections it has made.
    :ivar reuses: whether the request that was sent last went out on a connection
        that had been used before.
    """

    def __init__(self, port: int, address: str = "127.0.0.1") -> None:
        self.connections = 0
        self.reuses = False
        self._port = port
        self._address = address
        self._socket: socket.socket | None = None
        self._buffer = bytearray()
        self._begun = False

    async def ask(self, target: str, *, keep: bool, patience: float) -> Response:
        """
        Send a request, and read its response.

        :param target: what to get.
        :param keep: whether the connection may be used for the next one, too.
        :param patience: seconds that the whole may take.
        :raise AskingError: if there is no whole response.
        """
        try:
            async with asyncio.timeout(patience):
                response = await self._ask(target, keep=keep)
        except TimeoutError as error:
            self.close()
            raise AskingError("late", f"no answer within {patience} s") from error
        except BaseException:
            self.close()
            raise
        if response.closes or not keep:
            self.close()
        elif self._buffer:
            extra = bytes(self._buffer)
            self.close()
            raise AskingError("wrong", f"bytes behind the response: {extra!r}")
        return response

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._buffer.clear()

    async def _ask(self, target: str, *, keep: bool) -> Response:
        self.reuses = self._socket is not None
        self._begun = False
        if self._socket is None:
            self._socket = await self._connect()
        else:
            _check_idle(self._socket)
        word = "keep-alive" if keep else "close"
        head = f"GET {target} HTTP/1.1\r\nHost: chaos\r\nConnection: {word}\r\n\r\n"
        try:
            await _loop().sock_sendall(self._socket, head.encode("ascii"))
        except OSError as error:
            raise AskingError("reset", f"while sending: {error}") from error
        return await self._read()

    async def _connect(self) -> socket.socket:
        connection = socket.socket()
        connection.setblocking(False)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setsockopt(socket.IPPROTO_IP, _BIND_WITHOUT_PORT, 1)
            connection.bind((self._address, 0))
            await _loop().sock_connect(connection, ("127.0.0.1", self._port))
        except OSError as error:
            connection.close()
            raise AskingError("refused", str(error)) from error
        except BaseException:
            connection.close()
            raise
        self.connections += 1
        return connection

    async def _read(self) -> Response:
        line, *lines = (await self._until(b"\r\n\r\n")).split(b"\r\n")
        found = _STATUS.fullmatch(line)
        if found is None:
            raise AskingError("wrong", f"no status line: {line!r}")
        fields = {
            name.strip().lower(): value.strip()
            for name, _, value in (each.partition(b":") for each in lines)
        }
        if fields.get(b"transfer-encoding", b"").lower() == b"chunked":
            body = await self._chunks()
        elif fields.get(b"content-length", b"").isdigit():
            body = await self._exactly(int(fields[b"content-length"]))
        else:
            raise AskingError("wrong", f"no length: {fields!r}")
        closes = fields.get(b"connection", b"").lower() == b"close"
        return Response(int(found[1]), body, closes)

    async def _chunks(self) -> bytes:
        pieces: list[bytes] = []
        while True:
            line = await self._until(b"\r\n")
            found = _CHUNK.fullmatch(line)
            if found is None:
                raise AskingError("wrong", f"no chunk's size: {line!r}")
            size = int(found[1], 16)
            piece = await self._exactly(size + 2)
            if piece[size:] != b"\r\n":
                raise AskingError("wrong", f"no end of a chunk: {piece[size:]!r}")
            if not size:
                return b"".join(pieces)
            pieces.append(piece[:size])

    async def _until(self, end: bytes) -> bytes:
        while (place := self._buffer.find(end)) < 0:
            if len(self._buffer) > _MOST_HEAD:
                raise AskingError("wrong", f"no end of {bytes(self._buffer[:60])!r}")
            await self._more()
        found = bytes(self._buffer[:place])
        del self._buffer[: place + len(end)]
        return found

    async def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            await self._more()
        found = bytes(self._buffer[:size])
        del self._buffer[:size]
        return found

    async def _more(self) -> None:
        assert self._socket is not None
        try:
            data = await _loop().sock_recv(self._socket, 65_536)
        except OSError as error:
            raise AskingError("cut" if self._begun else "reset", str(error)) from error
        if not data:
            if self._begun:
                raise AskingError("cut", f"behind {bytes(self._buffer[-60:])!r}")
            raise AskingError("closed", "before the response")
        self._begun = True
        self._buffer += data


def _check_idle(connection: socket.socket) -> None:
    """Raise an error if data or an end came on an idle connection."""
    try:
        data = connection.recv(60, socket.MSG_PEEK)
    except BlockingIOError:
        return
    except OSError as error:
        raise AskingError("dropped", str(error)) from error
    if not data:
        raise AskingError("dropped", "closed while it was idle")
    raise AskingError("wrong", f"bytes that nobody has asked for: {data!r}")


def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()
