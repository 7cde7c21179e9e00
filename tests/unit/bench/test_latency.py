"""Latencies at a fixed rate: the load, with a small server, and the report."""

import socket
import threading
from collections.abc import Callable
from contextlib import closing

from twisted.trial.unittest import SynchronousTestCase

from bench import latency
from bench.fixed_rate import FixedRate, Latencies
from bench.latency import ALONE, RELOAD, Finding, judgement, text
from bench.servers import HOST

HEAD = "HTTP/1.1 {status}\r\n{fields}Content-Length: {length}\r\n\r\n"


class EchoServer:
    """
    A server that answers with the name in the path, as the work `json` wants it.

    :param answer: returns status, additional fields and whether the connection stays
        open for the request with a number; None for one that is not answered.
    """

    def __init__(self, answer: Callable[[int], tuple[str, str, bool] | None]) -> None:
        self._answer = answer
        self._listening = socket.create_server((HOST, 0))
        self.port: int = self._listening.getsockname()[1]
        self.requests = 0
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Stop to listen, which ends the thread."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines:
            while line := lines.readline():
                while lines.readline().strip():
                    pass
                with self._lock:
                    self.requests += 1
                    answer = self._answer(self.requests)
                if answer is None:
                    return
                status, fields, stays = answer
                name = line.split()[1].decode().partition("?")[0].rpartition("/")[2]
                body = f'{{"message": "hello, {name}"}}'
                head = HEAD.format(status=status, fields=fields, length=len(body))
                connection.sendall(f"{head}{body}".encode())
                if not stays:
                    return


class LoadTests(SynchronousTestCase):
    """Requests that are sent when they are due."""

    def load(self, answer: Callable[[int], tuple[str, str, bool] | None]) -> Latencies:
        """Send 40 requests to a server."""
        server = EchoServer(answer)
        self.addCleanup(server.close)
        with closing(FixedRate(server.port, latency.work(), 2000, 2)) as load:
            return load.run(40)

    def test_all_are_answered(self) -> None:
        """Each has a latency."""
        found = self.load(lambda _: ("200 OK", "", True))
        self.assertEqual((len(found.seconds), found.faults), (40, []))
        self.assertGreater(found.percentile(0), 0)
        self.assertEqual(found.percentile(100), max(found.seconds))

    def test_wait_for_a_connection_counts(self) -> None:
        """While the server stands still, later requests are due all the same."""
        release = threading.Event()

        def slow(number: int) -> tuple[str, str, bool]:
            if number == 10:
                release.wait(0.2)
            return "200 OK", "", True

        found = self.load(slow)
        # One was slow, and all that were due meanwhile have waited.
        self.assertGreater(sum(each > 0.1 for each in found.seconds), 10)

    def test_connections_that_close(self) -> None:
        """A new one takes the place, and nothing is a fault."""
        found = self.load(
            lambda number: ("200 OK", "Connection: close\r\n" * (number % 5 == 0), True)
        )
        self.assertEqual(
            (len(found.seconds), found.reopened, found.faults), (40, 0, [])
        )

    def test_idle_connection_closed(self) -> None:
        """A request that has crossed its close is sent again."""
        found = self.load(lambda number: ("200 OK", "", number != 5))
        self.assertEqual((len(found.seconds), found.faults), (40, []))
        self.assertEqual(found.reopened, 1)

    def test_errors(self) -> None:
        """A request without a success is a fault."""
        found = self.load(
            lambda number: ("503 No" if number == 3 else "200 OK", "", True)
        )
        self.assertEqual(found.faults, ["HTTP/1.1 503 No"])

    def test_no_answer(self) -> None:
        """So is one that is dropped twice."""
        found = self.load(lambda number: None if number > 20 else ("200 OK", "", True))
        self.assertIn("a connection was closed before its response", found.faults)


class ReportTests(SynchronousTestCase):
    """The tables."""

    found = (
        Finding("clusterapp", ALONE, ((1.0, 3.0, 9.0), (2.0, 4.0, 8.0))),
        Finding("clusterapp", RELOAD, ((1.0, 9.0, 9.0),), reopened=3),
        Finding("granian", ALONE, ((1.0, 4.0, 5.0),)),
        Finding("uvicorn", ALONE, fault="7 faults"),
    )

    def test_rows(self) -> None:
        """Medians of the rounds, and the worst."""
        rows = text(self.found).splitlines()[2:]
        self.assertEqual(
            rows[0], "| clusterapp | alone | 1.50 | 3.50 | 8.50 | 9.00 | 0 |"
        )
        self.assertEqual(rows[3], "| uvicorn | alone | invalid: 7 faults |  |  |  |  |")

    def test_judgement(self) -> None:
        """The p99 beside the first peer's."""
        self.assertEqual(
            judgement(self.found).splitlines()[2:],
            [
                "| alone | 0.88 | at most 1 | yes |",
                "| one reload | 2.25 | at most 2 | no |",
            ],
        )
        self.assertIn("| alone | - | at most 1 |  |", judgement(self.found[:2]))
