"""A cluster inside of other programs: their reactor, signals and log."""

import http.client
import os
import signal
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.running import (
    APPS,
    DEADLINE,
    ROOT,
    SCRIPTS,
    Running,
    children_of,
    is_alive,
)
from tests.ports import free_port

TAC = """
from twisted.application.service import Application
from clusterapp import ClusterService, Settings
application = Application("mine")
ClusterService(
    Settings(app="shop:app", workers=1, listen="tcp:0:interface=127.0.0.1", state="s")
).setServiceParent(application)
"""


def ask(port: int, method: str, target: str) -> tuple[int, bytes]:
    """Send one request, and return the status and the body of its answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
    try:
        connection.request(method, target)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


class EmbeddingTests(SynchronousTestCase):
    """`ClusterService` as a child of a program's own service."""

    def start(self, *command: str, cwd: Path | None = None) -> Running:
        """Run a program until the test ends."""
        running = Running(
            [*command], cwd=cwd or Path.cwd(), env={"PYTHONPATH": str(APPS)}
        )
        self.addCleanup(running.close)
        return running

    def ready(self, running: Running, workers: int = 1) -> int:
        """Wait until all workers are ready; return the port."""
        port = int(running.wait_for(r"listening at http://[^ ]*:(\d+)")[1])
        for _ in range(workers):
            running.wait_for(r"worker \d is ready")
        return port

    def assert_supervised(self, running: Running, port: int) -> None:
        """Check that a killed worker is replaced, and that all leave in the end."""
        victim = int(ask(port, "GET", "/pid")[1])
        os.kill(victim, signal.SIGKILL)
        running.wait_for(rf"pid {victim}\) left with signal 9")
        running.wait_for(r"worker \d is ready")
        children = children_of(running.process.pid)
        running.signal(signal.SIGTERM)
        running.wait_for("stopped")
        running.wait()
        self.assertFalse(any(map(is_alive, children)))

    def test_on_every_reactor(self) -> None:
        """It starts, serves and stops with its parent, which then goes on."""
        for reactor in ("epoll", "asyncio", "select"):
            for core in ("master", "isolated"):
                running = self.start(
                    sys.executable, str(APPS / "parent.py"), reactor, core
                )
                port = self.ready(running)
                self.assertEqual(ask(port, "POST", "/orders")[0], 200)
                self.assert_supervised(running, port)
                self.assertIn("the parent's own handler", running.text())
                self.assertTrue(running.text().endswith("the parent goes on"))
                self.assertEqual(list(Path("state").iterdir()), [])

    def test_a_reactor_that_cannot_supervise(self) -> None:
        """On uvloop a master would not see its workers die, and says so."""
        running = self.start(
            sys.executable, str(APPS / "parent.py"), "uvloop", "master"
        )
        self.assertEqual(running.wait(), 9)
        self.assertRegex(running.text(), r"refused: .*uvloop.*child processes exit")
        self.assertFalse(Path("state").exists())

    def test_in_a_tac_file(self) -> None:
        """``twistd -y`` runs it, with twistd's own signals."""
        Path("mine.tac").write_text(TAC)
        running = self.start(
            *(f"{SCRIPTS}/twistd", "-n", "--pidfile=", "-y", "mine.tac")
        )
        self.assert_supervised(running, self.ready(running))

    def test_the_example(self) -> None:
        """``examples/embedded.py`` does what it says."""
        port = free_port()
        running = self.start(
            sys.executable, "embedded.py", str(port), cwd=ROOT / "examples"
        )
        self.assertEqual(self.ready(running, workers=2), port)
        self.assertEqual(ask(port, "GET", "/hello/you")[0], 200)
        running.signal(signal.SIGTERM)
        running.wait_for("stopped")
