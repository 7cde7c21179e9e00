"""What goes wrong for one client of a real cluster, and what others see of it."""

import tempfile
from functools import partial
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.running import APPS, RunningCluster, cluster, eventually

ENVIRONMENT = {"PYTHONPATH": str(APPS)}
#: More digits than Python converts to a number.
MANY_DIGITS = b"Content-Length: " + b"0" * 5000
LARGE = b"x" * 100_000


def ask(running: RunningCluster, request: bytes) -> bytes:
    """Send a request on a connection of its own; return the first of the answer."""
    with running.connect() as connection:
        connection.sendall(request)
        return connection.recv(65536)


def get(*fields: bytes) -> bytes:
    """Return a request for the page that names the process."""
    return b"\r\n".join([b"GET /pid HTTP/1.1", b"Host: h", *fields, b"", b""])


def descriptors(pid: int) -> int:
    """Count the descriptors of a process."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


class IsolationTests(SynchronousTestCase):
    """One client does not touch another."""

    def test_temporary_folder_that_is_gone(self) -> None:
        """A body that cannot be kept is a 500; the worker goes on accepting."""
        with tempfile.TemporaryDirectory() as name:
            temporary = Path(name) / "tmp"
            temporary.mkdir()
            env = {**ENVIRONMENT, "TMPDIR": str(temporary)}
            with cluster("--app", "shop:app", workers=1, env=env) as running:
                status, _, _ = running.request("POST", "/pid", body=LARGE)
                self.assertEqual(status, 200)
                temporary.rmdir()
                for _ in range(5):
                    status, headers, _ = running.request("POST", "/pid", body=LARGE)
                    self.assertEqual((status, headers["Connection"]), (500, "close"))
                    self.assertTrue(ask(running, get()).startswith(b"HTTP/1.1 200"))
                running.wait_for("cannot serve POST /pid")
                self.assertNotIn("trying again", running.text())

    def has_no_more(self, pid: int, before: int) -> bool:
        return descriptors(pid) <= before

    def test_numbers_of_many_digits(self) -> None:
        """They leave nothing behind, in the worker or in a master that peeks."""
        sticky = ("--dispatch", "sticky", "--sticky", "cookie")
        for flags in ((), sticky):
            with cluster("--app", "shop:app", *flags, env=ENVIRONMENT) as running:
                ask(running, get())
                before = descriptors(running.pid)
                for _ in range(100):
                    ask(running, get(MANY_DIGITS + b"7") + b"1234567")
                    answer = ask(running, get(b"Cookie: a=b"))
                    self.assertTrue(answer.startswith(b"HTTP/1.1 200"), answer)
                eventually(partial(self.has_no_more, running.pid, before))
                self.assertNotIn("Traceback", running.text())
