"""The client of the control API, against servers that say anything."""

import json
import os
import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import Any
from unittest import skipUnless

from clusterapp.control import control_client as client
from clusterapp.control.control_client import Client
from clusterapp.errors import (
    ControlError,
    RefusedError,
    UnreachableError,
    WrongRequestError,
)
from tests.unit.control.canned import (
    DEADLINE,
    END,
    SILENCE,
    CannedCase,
    chunked,
    response,
)
from tests.unit.fakes import descriptors

STEP = {"step": "starting", "slot": 0}
VERDICT = {"verdict": {"ok": True, "text": "", "traceback": ""}}
STEP_LINE, VERDICT_LINE = (json.dumps(line) + "\n" for line in (STEP, VERDICT))
STRANGER = "no master of clusterapp listens there"


class ClientCase(CannedCase):
    """A client, and what it was told."""

    def setUp(self) -> None:
        super().setUp()
        self.before = descriptors()
        self.told: list[Mapping[str, Any]] = []
        self.client = Client(self.path)

    def follow(self) -> Mapping[str, Any]:
        return self.client.follow("/reload", self.told.append)

    def assert_error(self, kind: type[ControlError], *words: str) -> None:
        """Each of them fails in this way, and leaves nothing open."""
        error = self.assertRaises(kind, self.client.get, "/status")
        self.assertIs(type(error), kind)
        for word in words:
            self.assertIn(word, str(error))


class DocumentTests(ClientCase):
    """What one document answers."""

    def test_get(self) -> None:
        server = self.serve(response('{"pid": 1}'))
        self.assertEqual(self.client.get("/status"), {"pid": 1})
        [request] = server.requests
        self.assertTrue(request.startswith(b"GET /status HTTP/1.1\r\n"), request)
        self.assertIn(b"\r\nHost: localhost\r\n", request)

    def test_post(self) -> None:
        server = self.serve(response('{"0": "stack"}'))
        self.assertEqual(self.client.post("/stacks"), {"0": "stack"})
        [request] = server.requests
        self.assertTrue(request.startswith(b"POST /stacks HTTP/1.1\r\n"), request)
        self.assertIn(b"\r\nContent-Length: 0\r\n", request)

    def test_nothing_stays_open(self) -> None:
        server = self.serve(response("{}"), response('{"error": ""}', "409 Oh"))
        self.client.get("/status")
        self.assertRaises(RefusedError, self.client.get, "/status")
        server.close()
        self.assertEqual(descriptors(), self.before)


class FollowTests(ClientCase):
    """Operations, step by step."""

    def test_steps_and_verdict(self) -> None:
        server = self.serve(chunked(STEP_LINE, STEP_LINE, VERDICT_LINE, ""))
        self.assertEqual(self.follow(), VERDICT)
        self.assertEqual(self.told, [STEP, STEP])
        server.close()
        self.assertEqual(descriptors(), self.before)

    def test_what_is_wanted(self) -> None:
        server = self.serve(chunked(VERDICT_LINE))
        self.client.follow("/scale", self.told.append, {"workers": 4})
        self.assertTrue(server.requests[0].endswith(b'\r\n\r\n{"workers": 4}'))

    def test_verdict_before_the_connection_breaks(self) -> None:
        """A master that stops may not come to the end of its response."""
        self.serve(chunked(STEP_LINE, VERDICT_LINE))
        self.assertEqual(self.follow(), VERDICT)

    def test_no_verdict(self) -> None:
        """Whatever the master was doing: nobody can say that it is done."""
        broken = (
            chunked(STEP_LINE),
            chunked(STEP_LINE, VERDICT_LINE[:20]),
            chunked(STEP_LINE, "no JSON\n"),
            chunked(STEP_LINE) + b"ff\r\n{",
            chunked(STEP_LINE) + b"no chunk",
            chunked(STEP_LINE, ""),
        )
        for answer in broken:
            self.serve(answer).requests.clear()
            error = self.assertRaises(ControlError, self.follow)
            self.assertIn("before it gave a verdict", str(error))
            self.assertEqual(error.exit_status, 1)
            self.assertEqual(self.told, [STEP])
            self.told.clear()
            Path(self.path).unlink()

    def test_refusal(self) -> None:
        self.serve(response('{"error": "a reload is under way"}', "409 Conflict"))
        error = self.assertRaises(RefusedError, self.follow)
        self.assertEqual(str(error), "a reload is under way")
        self.assertEqual(self.told, [])

    def test_operation_may_take_long(self) -> None:
        """Only the beginning of the answer is waited for so long."""
        self.client = Client(self.path, SILENCE / 2)
        self.serve((chunked(STEP_LINE), chunked(VERDICT_LINE).partition(END)[2]))
        self.assertEqual(self.follow(), VERDICT)
        self.assertEqual(self.told, [STEP])


class ErrorTests(ClientCase):
    """What is said when it does not work."""

    def test_refusals(self) -> None:
        for status in ("409 Conflict", "404 Not Found"):
            self.serve(response('{"error": "no slot 9"}', status))
            self.assert_error(RefusedError, "no slot 9")
            Path(self.path).unlink()

    def test_other_errors(self) -> None:
        """A request that is wrong, or a master that fails."""
        for status, kind in (
            ("400 Bad Request", WrongRequestError),
            ("500 Internal Server Error", ControlError),
        ):
            self.serve(response('{"error": "workers"}', status))
            self.assert_error(kind, "workers")
            Path(self.path).unlink()

    def test_nobody_listens(self) -> None:
        self.assert_error(UnreachableError, self.path, "No such file")
        Path(self.path).touch()
        self.assert_error(UnreachableError, self.path, "Connection refused")

    def test_long_path(self) -> None:
        self.client = Client("x" * 200)
        self.assert_error(UnreachableError, "x" * 200, "path too long")

    def test_closed_without_an_answer(self) -> None:
        """As a master does that does not serve this user."""
        self.serve(b"")
        self.assert_error(UnreachableError, self.path, "without response")

    def test_silence(self) -> None:
        self.client = Client(self.path, 0.05)
        self.serve(None)
        self.assert_error(UnreachableError, self.path, "it does not answer")

    def test_strangers(self) -> None:
        """Some other server was named."""
        for answer in (
            b"220 mail.example.org ESMTP\r\n",
            response("<html>"),
            response("[]"),
            response("hello", "404 Not Found"),
            response("{}", "404 Not Found"),
            response('{"error": 1}', "500 Oh"),
        ):
            self.serve(answer)
            self.assert_error(UnreachableError, self.path)
            Path(self.path).unlink()

    def test_document_that_breaks_off(self) -> None:
        self.serve(response('{"pid": 1}')[:-3])
        self.assert_error(UnreachableError, self.path)


class HostileTests(ClientCase):
    """Hostile responses are bounded in time and memory."""

    def serve_endlessly(self, head: bytes, piece: bytes, pause: float = 0.0) -> None:
        """Send a head, and then the same piece until the client leaves."""
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(self.path)
        listening.listen()
        listening.settimeout(DEADLINE)
        over = threading.Event()

        def serve() -> None:
            with listening, listening.accept()[0] as connection:
                try:
                    connection.sendall(head)
                    while not over.wait(pause):
                        connection.sendall(piece)
                except ConnectionError:
                    return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        self.addCleanup(thread.join, DEADLINE)
        self.addCleanup(over.set)

    def test_endless_document(self) -> None:
        """Of known length, in chunks, up to the end of the connection."""
        self.patch(client, "LONGEST_ANSWER", 1024**2)
        for field in (b"Content-Length: %d" % 2**62, b"X: y"):
            head = b"HTTP/1.1 200 OK\r\n" + field + END
            self.serve_endlessly(head, b" " * 65_536)
            self.assert_error(UnreachableError, "more than 1048576 bytes")
            Path(self.path).unlink()
        self.serve_endlessly(chunked(), b"ffff\r\n" + b" " * 65_535 + b"\r\n")
        self.assert_error(UnreachableError, "more than 1048576 bytes")

    def test_a_chunk_of_any_size(self) -> None:
        """What a head claims is not believed before it is there."""
        self.serve(chunked() + b"fffffffffffffff\r\n{")
        self.assert_error(UnreachableError)

    def test_endless_heads(self) -> None:
        for head, piece in (
            (b"HTTP/1.1 ", b"2" * 65_536),
            (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
            (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
        ):
            self.serve_endlessly(head, piece)
            self.assert_error(UnreachableError, self.path)
            Path(self.path).unlink()

    def test_byte_by_byte(self) -> None:
        """The whole of it has a deadline, not each of its pieces."""
        for head in (b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: "):
            self.client = Client(self.path, 0.3)
            self.serve_endlessly(head, b" ", 0.01)
            began = monotonic()
            self.assert_error(UnreachableError, "it does not answer")
            self.assertLess(monotonic() - began, DEADLINE / 2)
            Path(self.path).unlink()

    def test_a_step_without_an_end(self) -> None:
        """An operation takes as long as it takes, but its steps are lines."""
        self.patch(client, "LONGEST_LINE", 65_536)
        self.serve_endlessly(chunked(), b"ffff\r\n" + b" " * 65_535 + b"\r\n")
        error = self.assertRaises(ControlError, self.follow)
        self.assertIn("before it gave a verdict", str(error))

    def test_json_that_is_too_deep(self) -> None:
        self.serve(response("[" * 200_000), chunked("[" * 200_000 + "\n"))
        self.assert_error(UnreachableError, self.path)
        self.assertRaises(ControlError, self.follow)

    def test_steps_that_are_no_objects(self) -> None:
        for line in ("7\n", "[]\n", '"verdict"\n'):
            self.serve(chunked(line))
            error = self.assertRaises(ControlError, self.follow)
            self.assertIn("before it gave a verdict", str(error))
            Path(self.path).unlink()

    def test_a_fifo(self) -> None:
        os.mkfifo(self.path)
        self.assert_error(UnreachableError, "Connection refused")

    @skipUnless(os.geteuid() == 0, "only root can become another user")
    def test_another_user_behind_a_socket_of_mine(self) -> None:
        """A user who owns neither the socket nor the machine is not asked."""
        listening = socket.socket(socket.AF_UNIX)
        self.addCleanup(listening.close)
        listening.bind(self.path)
        os.seteuid(65_534)
        try:
            listening.listen()
        finally:
            os.seteuid(0)
        self.assert_error(UnreachableError, "user 65534 listens there")
        os.chown(self.path, 65_534, 65_534)
        self.client = Client(self.path, 0.05)
        self.assert_error(UnreachableError, "it does not answer")
