"""The load generator sees everything that a server can do wrong."""

import contextlib
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from twisted.trial.unittest import SynchronousTestCase

from tests.chaos.load import Figures, Load
from tests.integration.running import eventually
from tests.ports import free_port

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CLOSING = GOOD.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2\r\nhe\r\n3;a=b\r\nllo\r\n0\r\n\r\n"
)

#: What a server does with the n-th request of a connection.
Behaviour = Callable[[socket.socket, int], None]


def check(target: str, body: bytes) -> str:
    """Accept one body as valid."""
    if body != b"hello":
        raise ValueError("not what it must be")
    return "server"


def saying(*answers: bytes) -> Behaviour:
    """Answer one request after the other, then close."""

    def behave(connection: socket.socket, number: int) -> None:
        connection.sendall(answers[number])
        if number + 1 == len(answers):
            connection.shutdown(socket.SHUT_RDWR)

    return behave


def reset(connection: socket.socket, number: int) -> None:
    """Break a connection off as a killed process does that has not read all."""
    linger = struct.pack("ii", 1, 0)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    connection.close()


def silent(connection: socket.socket, number: int) -> None:
    """Answer nothing."""


@contextmanager
def server(behave: Behaviour) -> Iterator[int]:
    """Serve on a port, one connection after the other, with a thread for each."""
    threads = []

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            number = 0
            while connection.recv(4096):
                behave(connection, number)
                number += 1

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listening.accept()
                threads.append(threading.Thread(target=serve, args=(connection,)))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threads.append(threading.Thread(target=accept))
        threads[0].start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join(10)


class LoadTests(SynchronousTestCase):
    """One client at a time, and servers that do one thing each."""

    def load(
        self, behave: Behaviour, *, keep: bool = True, requests: int = 3
    ) -> Figures:
        """Run a client against a server until it has sent so many requests."""
        with server(behave) as port:
            return self.ask(port, keep=keep, requests=requests)

    def ask(self, port: int, *, keep: bool = True, requests: int = 3) -> Figures:
        load = Load(port, check, kept=keep, fresh=not keep, patience=0.5)
        with load:
            figures = load.figures
            eventually(lambda: figures.answered + len(figures.failures) >= requests)
        print(figures)
        return figures

    def assert_kinds(self, figures: Figures, *kinds: str) -> None:
        self.assertEqual(set(figures.kinds), set(kinds), figures)

    def test_good_server(self) -> None:
        """Nothing fails, on one connection."""
        figures = self.load(lambda connection, _: connection.sendall(GOOD))
        self.assert_kinds(figures)
        self.assertEqual(figures.connections, 1)
        self.assertEqual(figures.reused, figures.answered - 1)
        self.assertEqual(figures.answers, Counter(server=figures.answered))
        self.assertEqual(len(figures.latencies), figures.answered)

    def test_chunks(self) -> None:
        self.assert_kinds(self.load(lambda connection, _: connection.sendall(CHUNKED)))

    def test_connection_per_request(self) -> None:
        figures = self.load(saying(GOOD), keep=False)
        self.assert_kinds(figures)
        self.assertEqual((figures.connections, figures.reused), (figures.answered, 0))

    def test_announced_close(self) -> None:
        """A response that says so ends its connection, and that is no failure."""
        figures = self.load(saying(GOOD, CLOSING), requests=4)
        self.assert_kinds(figures)
        self.assertEqual(figures.connections, (figures.answered + 1) // 2)

    def test_refused(self) -> None:
        self.assert_kinds(self.ask(free_port()), "refused")

    def test_reset(self) -> None:
        for keep in (True, False):
            figures = self.load(reset, keep=keep)
            self.assert_kinds(figures, "reset")
            self.assertEqual(figures.answered, 0)

    def test_closed_before_the_response(self) -> None:
        for keep in (True, False):
            self.assert_kinds(self.load(saying(b""), keep=keep), "closed")

    def test_closed_when_the_next_request_comes(self) -> None:
        """A request that crosses a close is lost."""
        figures = self.load(saying(GOOD, b""), requests=4)
        self.assert_kinds(figures, "closed")
        self.assertTrue(all(failure.reused for failure in figures.failures))
        self.assertEqual({failure.last for failure in figures.failures}, {"server"})

    def test_dropped_while_idle(self) -> None:
        """A close without a word is a failure, though the client sees it in time."""

        def say_and_close(connection: socket.socket, _: int) -> None:
            # In one segment: the client must not ask again before it can see the end.
            connection.send(GOOD, socket.MSG_MORE)
            connection.shutdown(socket.SHUT_RDWR)

        figures = self.load(say_and_close, requests=4)
        self.assert_kinds(figures, "dropped")
        self.assertEqual(figures.reused, 0)

    def test_reset_while_idle(self) -> None:
        def behave(connection: socket.socket, number: int) -> None:
            connection.sendall(GOOD)
            reset(connection, number)

        self.assertIn("dropped", self.load(behave, requests=4).kinds)

    def test_cut(self) -> None:
        """In the status line, the head, the body, a chunk, or before the last one."""
        for place in (1, 12, 20, len(GOOD) - 1):
            self.assert_kinds(self.load(saying(GOOD[:place])), "cut")
        for place in (len(CHUNKED) - 12, len(CHUNKED) - 5, len(CHUNKED) - 1):
            self.assert_kinds(self.load(saying(CHUNKED[:place])), "cut")

    def test_wrong(self) -> None:
        """Another status, another body, no length, bad chunks, or no HTTP at all."""
        for answer in (
            GOOD.replace(b"200 OK", b"503 Service Unavailable"),
            GOOD.replace(b"hello", b"jello"),
            GOOD.replace(b"Content-Length", b"X-Length"),
            CHUNKED.replace(b"2\r\n", b"x\r\n"),
            CHUNKED.replace(b"2\r\n", b"1\r\n"),
            b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        ):
            self.assert_kinds(self.load(saying(answer), keep=False), "wrong")

    def test_bytes_behind_the_response(self) -> None:
        """Nobody has asked for them, whether they come at once or a moment later."""
        figures = self.load(lambda connection, _: connection.sendall(GOOD + b"x"))
        self.assert_kinds(figures, "wrong")

        def behave(connection: socket.socket, _: int) -> None:
            connection.sendall(GOOD)
            connection.sendall(b"HTTP/1.1 408 Request Timeout\r\n\r\n")

        self.assert_kinds(self.load(behave), "wrong")

    def test_late(self) -> None:
        self.assert_kinds(self.load(silent, requests=1), "late")

    def test_each_request_has_a_number(self) -> None:
        seen: set[str] = set()

        def note(target: str, body: bytes) -> str:
            seen.add(target)
            return check(target, body)

        targets = ("/a/", "/b/")
        with (
            server(lambda connection, _: connection.sendall(GOOD)) as port,
            Load(port, note, kept=2, fresh=0, targets=targets) as load,
        ):
            load.wait_for(10)
        self.assertEqual(len(seen), load.figures.answered)
        self.assertTrue({"/a/1", "/b/2", "/a/3"} <= seen)

    def test_pace(self) -> None:
        """All clients together send no more than they are told to."""
        with server(lambda connection, _: connection.sendall(GOOD)) as port:
            load = Load(port, check, kept=3, fresh=2, per_second=50)
            with load:
                load.wait_for(20)
        self.assertLess(load.figures.answered / load.figures.seconds, 75)
