"""A load of a fixed rate, whose latencies count from when a request was due."""

import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from bench.servers import HOST
from bench.works import HEADERS, Work, fill

#: How long responses may take after the last request was due, in seconds.
_PATIENCE = 30.0
_RECEIVED = 65536
_END_OF_HEAD = b"\r\n\r\n"


@dataclass
class Latencies:
    """
    What a load has found.

    :ivar seconds: the latency of each request, in the order of the responses.
    :ivar reopened: how many requests were sent again on another connection, since the
        server had closed an idle one.
    :ivar faults: what went wrong, in words.
    """

    seconds: list[float] = field(default_factory=list)
    reopened: int = 0
    faults: list[str] = field(default_factory=list)

    def percentile(self, percent: float) -> float:
        """Return a percentile of the latencies in seconds, by the nearest rank."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


@dataclass
class _Request:
    due: float
    identity: str
    raw: bytes
    was_sent_before: bool = False


class _Connection:
    """A kept-alive connection, with one request at a time."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection((HOST, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.request: _Request | None = None
        self.received = b""
        self.has_served = False


class FixedRate:
    """
    Sends requests when they are due, whether or not earlier ones were answered.

    A request that finds all connections busy waits for one, and that wait is part of
    its latency. A load that waited with the next request for the last response would
    leave out just those requests that a slow server delays (coordinated omission).

    :param port: the port of the server.
    :param work: what is asked for; each request has its own path and fields.
    :param rate: requests per second.
    :param connections: how many connections there are.
    """

    def __init__(self, port: int, work: Work, rate: float, connections: int) -> None:
        self._port = port
        self._work = work
        self._interval = 1 / rate
        self._free = deque(_Connection(port) for _ in range(connections))
        self._waiting: deque[_Request] = deque()
        self._busy: dict[int, _Connection] = {}
        self._epoll = select.epoll()
        self._lock = threading.Lock()
        self._left = 0
        self._done = threading.Event()
        self.found = Latencies()

    def run(self, count: int, at_half: Callable[[], None] | None = None) -> Latencies:
        """
        Send requests, and return their latencies.

        :param count: the number of requests.
        :param at_half: called in another thread when half of them are sent.
        """
        self._left = count
        receiver = threading.Thread(target=self._receive)
        receiver.start()
        begin = time.monotonic()
        for number in range(count):
            due = begin + number * self._interval
            pause = due - time.monotonic()
            if pause > 0:
                time.sleep(pause)
            if at_half is not None and number == count // 2:
                threading.Thread(target=at_half).start()
            with self._lock:
                self._waiting.append(self._request(due, number))
                self._send_waiting()
        if not self._done.wait(_PATIENCE):
            self.found.faults.append(f"{self._left} requests without a response")
            self._done.set()
        receiver.join()
        return self.found

    def close(self) -> None:
        """Close all connections."""
        for each in (*self._free, *self._busy.values()):
            each.socket.close()
        self._epoll.close()

    def _request(self, due: float, number: int) -> _Request:
        identity = f"f{number}x{time.monotonic_ns():x}"
        lines = (
            f"GET {self._work.target} HTTP/1.1",
            f"Host: {HOST}:{self._port}",
            *HEADERS,
            "\r\n",
        )
        return _Request(due, identity, fill("\r\n".join(lines), identity).encode())

    def _send_waiting(self) -> None:
        while self._waiting and self._free:
            request, connection = self._waiting.popleft(), self._free.popleft()
            connection.request, connection.received = request, b""
            number = connection.socket.fileno()
            self._busy[number] = connection
            self._epoll.register(number, select.EPOLLIN)
            try:
                connection.socket.sendall(request.raw)
            except OSError:
                self._lost(connection)

    def _receive(self) -> None:
        while not self._done.is_set():
            for number, _ in self._epoll.poll(0.1):
                with self._lock:
                    if number in self._busy:
                        self._read(self._busy[number])

    def _read(self, connection: _Connection) -> None:
        try:
            data = connection.socket.recv(_RECEIVED, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return  # the event was of an earlier connection with the same number
        except OSError:
            data = b""
        if not data:
            self._lost(connection)
            return
        connection.received += data
        head, _, body = connection.received.partition(_END_OF_HEAD)
        request = connection.request
        assert request is not None  # noqa: S101
        # The body of every work of this load ends with the request's identity.
        if request.identity.encode() not in body or not body.endswith(b"}"):
            return
        self._release(connection)
        connection.has_served = True
        self.found.seconds.append(time.monotonic() - request.due)
        if not head.startswith(b"HTTP/1.1 200"):
            self.found.faults.append(head.partition(b"\r\n")[0].decode("latin-1"))
        if b"\r\nconnection: close" in head.lower():
            connection.socket.close()
            connection = _Connection(self._port)
        self._free.append(connection)
        self._left -= 1
        if not self._left:
            self._done.set()
        self._send_waiting()

    def _release(self, connection: _Connection) -> None:
        number = connection.socket.fileno()
        self._epoll.unregister(number)
        del self._busy[number]

    def _lost(self, connection: _Connection) -> None:
        """Send a request again that has crossed the close of an idle connection."""
        request = connection.request
        assert request is not None  # noqa: S101
        self._release(connection)
        connection.socket.close()
        if connection.received or request.was_sent_before or not connection.has_served:
            self.found.faults.append("a connection was closed before its response")
            self._left -= 1
        else:
            request.was_sent_before = True
            self.found.reopened += 1
            self._waiting.appendleft(request)
        self._free.append(_Connection(self._port))
        if not self._left:
            self._done.set()
        self._send_waiting()
