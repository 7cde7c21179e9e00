"""Answers that were there before they were asked for."""

import os
import tempfile

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.http.access_log.access_record import AccessRecord
from clusterapp.http.server.prepared_response import FilePart, OpenFile, Prepared
from clusterapp.http.site import ClusterSite
from tests.unit.http.clients import Client, Greeting


def on_disk(content: bytes) -> OpenFile:
    """Make a file that is open, and has no name."""
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        return OpenFile(os.dup(file.fileno()))


class AnswerTests(SynchronousTestCase):
    """A site with answers for what is below ``/ready``."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.answers = {
            b"/ready": Prepared(200, [(b"Content-Type", b"text/plain")], [b"hello"]),
            b"/none": Prepared(304, [(b"ETag", b'"a"')], length=5),
            b"/file": Prepared(
                206, [], [b"<", FilePart(on_disk(b"0123456789"), 2, 6), b">"]
            ),
            b"/short": Prepared(200, [], [FilePart(on_disk(b"0123"), 0, 9)]),
        }
        self.seen: list[AccessRecord] = []
        self.site = ClusterSite(
            self.clock,
            Greeting(),
            answer=lambda _method, target, _fields: self.answers.get(target),
            recorder=self,
        )
        self.client = Client(self.site, self.clock)
        self.addCleanup(self.client.goes)

    def record(self, answered: AccessRecord) -> None:
        self.seen.append(answered)

    def ask(self, target: bytes, method: bytes = b"GET", more: bytes = b"") -> None:
        self.client.send(
            b"%b %b HTTP/1.1\r\nHost: h\r\n%b\r\n" % (method, target, more)
        )

    def test_whole(self) -> None:
        """Head and body, again and again, and the application in between."""
        self.ask(b"/ready")
        self.assertTrue(self.client.received.startswith(b"HTTP/1.1 200 OK\r\n"))
        self.assertIn(b"\r\nContent-Length: 5\r\n", self.client.received)
        self.assertTrue(self.client.received.endswith(b"\r\n\r\nhello"))
        self.ask(b"/other")
        self.ask(b"/ready")
        self.assertEqual(self.client.received.count(b"\r\n\r\nhello"), 3)
        self.assertEqual([each.status for each in self.seen], [200, 200, 200])
        self.assertEqual([each.sent for each in self.seen], [5, 5, 5])

    def test_head(self) -> None:
        """A HEAD gets the length, and nothing of the body."""
        self.ask(b"/file", b"HEAD")
        self.assertIn(b"\r\nContent-Length: 8\r\n", self.client.received)
        self.assertTrue(self.client.received.endswith(b"\r\n\r\n"))
        self.assertEqual(self.seen[0].sent, 0)

    def test_not_modified(self) -> None:
        """A 304 has no length of its own."""
        self.ask(b"/none")
        self.assertNotIn(b"Content-Length", self.client.received)
        self.ask(b"/ready")
        self.assertTrue(self.client.received.endswith(b"hello"))

    def test_last_one(self) -> None:
        """After Connection: close, the response has the field, too, and ends it."""
        self.ask(b"/ready", more=b"Connection: close\r\n")
        self.assertIn(b"\r\nConnection: close\r\n", self.client.received)
        self.assertEqual(self.client.transport.ended, "closed")

    def test_old_clients(self) -> None:
        """HTTP/1.0 keeps a connection if both sides say so."""
        self.client.send(b"GET /ready HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        self.assertIn(b"\r\nConnection: keep-alive\r\n", self.client.received)
        self.assertEqual(self.client.transport.ended, "")

    def test_parts_of_files(self) -> None:
        """Bytes and parts of files are sent in their order."""
        self.ask(b"/file")
        self.assertTrue(self.client.received.endswith(b"\r\n\r\n<234567>"))
        self.ask(b"/ready")
        self.assertTrue(self.client.received.endswith(b"hello"))

    def test_file_that_became_shorter(self) -> None:
        """It is broken off: what is missing must be seen to be missing."""
        self.ask(b"/short")
        self.assertEqual(self.client.transport.ended, "reset")

    def test_slow_client(self) -> None:
        """A client that does not read is waited for."""
        self.client.channel.pauseProducing()
        self.ask(b"/ready")
        self.assertEqual(self.client.received, b"")
        self.client.channel.resumeProducing()
        self.assertTrue(self.client.received.endswith(b"hello"))

    def test_unwanted_body(self) -> None:
        """It is answered, never taken for a request, and not cut off by a reset."""
        body = b"GET /ready HTTP/1.1\r\nHost: h\r\n\r\n"
        for framing in (
            b"Content-Length: %d" % len(body),
            b"Transfer-Encoding: chunked",
        ):
            client = self.client = Client(self.site, self.clock)
            self.addCleanup(client.goes)
            self.ask(b"/ready", b"POST", framing + b"\r\n")
            self.assertEqual(client.transport.ended, "half")
            client.send(body)
            self.assertEqual(client.received.count(b"HTTP/1.1 200"), 1)
