"""The access log of real workers: one file for all of them, renamed while they run."""

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import tempfile
import threading
from collections import Counter
from pathlib import Path
from typing import Self

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.running import (
    DEADLINE,
    SCRIPTS,
    Running,
    RunningCluster,
    clean_environment,
    cluster,
    eventually,
)

COMBINED = re.compile(
    r'127\.0\.0\.1 - - \[[^\]]+\] "GET (?P<target>/[^ "]*) HTTP/1\.1" (?P<status>\d{3})'
    r' \d+ "-" "test"'
)


ENDLESS = """\
from clusterapp import Application
from twisted.internet.defer import Deferred

app = Application()

@app.route("/never")
def never(request):
    print("asked for /never", flush=True)
    return Deferred()

@app.route("/begun")
def begun(request):
    request.write(b"begun")
    print("asked for /begun", flush=True)
    return Deferred()

@app.core.route("/core/never")
def core_never(request):
    print("asked for /core/never", flush=True)
    return Deferred()
"""


class Clients:
    """
    Clients that ask, each on a kept-alive connection, until they are told to stop.

    Each request has a target of its own.

    :param port: where the cluster listens.
    :param count: how many clients there are.
    """

    def __init__(self, port: int, count: int) -> None:
        self.asked: list[str] = []
        self._port = port
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(number,))
            for number in range(count)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(DEADLINE)

    def wait_for_more(self, count: int) -> None:
        """Wait until so many more requests have been answered."""
        wanted = len(self.asked) + count
        eventually(lambda: len(self.asked) >= wanted)

    def _ask(self, number: int) -> None:
        requests = 0
        while not self._stopped.is_set():
            # A connection of its own now and then, so that every worker is asked.
            connection = http.client.HTTPConnection(
                "127.0.0.1", self._port, timeout=DEADLINE
            )
            for _ in range(20):
                target = f"/{number}/{requests}"
                connection.request("GET", target, headers={"User-Agent": "test"})
                connection.getresponse().read()
                self.asked.append(target)
                requests += 1
            connection.close()


def stop(running: RunningCluster) -> None:
    """Stop a cluster gracefully, and wait until it is gone."""
    running.signal(signal.SIGTERM)
    running.wait()


def opened_by(pid: int) -> set[str]:
    """Return which files a process has open."""
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        # A process that works may close one while we look.
        with contextlib.suppress(FileNotFoundError):
            found.add(str(entry.readlink()))
    return found


class AccessLogCase(SynchronousTestCase):
    """A folder for the log."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="clusterapp-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.path = self.folder / "access.log"


class RequestTests(AccessLogCase):
    """Requests, and their lines."""

    def test_rotation_while_requests_go_on(self) -> None:
        """Each request has one line, a whole one, in one of the files."""
        with cluster("--access-log", str(self.path), workers=4) as running:
            with Clients(running.port, 4) as clients:
                for number in range(3):
                    clients.wait_for_more(200)
                    self.path.rename(self.path.with_suffix(f".{number}"))
                    running.signal(signal.SIGUSR1)
                    running.wait_for("SIGUSR1: reopening logs")
                    eventually(self.path.exists)
                clients.wait_for_more(200)
            stop(running)
        lines = [
            line
            for path in self.folder.iterdir()
            for line in path.read_text("ascii").splitlines(keepends=True)
        ]
        self.assertEqual(len(list(self.folder.iterdir())), 4)
        found = [COMBINED.fullmatch(line.removesuffix("\n")) for line in lines]
        self.assertTrue(all(found), lines)
        self.assertTrue(all(line.endswith("\n") for line in lines))
        logged = Counter(each["target"] for each in found if each is not None)
        self.assertEqual(logged, Counter(clients.asked))

    def test_stdout_as_json(self) -> None:
        """The lines stand among those of the master, as the workers wrote them."""
        flags = ("--access-log", "-", "--access-log-format", "json")
        with cluster(*flags, workers=1) as running:
            children = running.children()
            running.request(
                "GET",
                "/nowhere?a=b",
                headers={"X-Request-Id": "abc-1", "Referer": "http://localhost/"},
            )
            stop(running)
        [found] = [json.loads(line) for line in running.lines if line.startswith("{")]
        self.assertIn(found["pid"], children)
        self.assertIn(found["slot"], {0, 1})
        self.assertGreaterEqual(found["duration_ms"], 0)
        self.assertEqual(
            [found[key] for key in ("method", "target", "status", "generation")],
            ["GET", "/nowhere?a=b", 404, 1],
        )
        self.assertEqual(found["request_id"], "abc-1")
        self.assertEqual(found["referer"], "http://localhost/")

    def test_disk_that_is_full(self) -> None:
        """Requests are answered; each worker says what is wrong, and what is lost."""
        with cluster("--access-log", "/dev/full", workers=1) as running:
            for _ in range(20):
                self.assertEqual(running.request("GET", "/nowhere")[0], 404)
            stop(running)
        self.assertEqual(running.text().count("cannot write the access log"), 1)
        self.assertIn("20 lines of the access log /dev/full lost", running.text())


class BrokenOffTests(AccessLogCase):
    """What a stop breaks off."""

    def test_graceful_timeout(self) -> None:
        """It has its lines: responses with no part sent, and with some."""
        (self.folder / "endless.py").write_text(ENDLESS)
        (self.folder / "static").mkdir()
        (self.folder / "static" / "large.bin").write_bytes(b"~" * 20_000_000)
        flags = ("--app", "endless:app", "--graceful-timeout", "1")
        log = ("--access-log", str(self.path), "--access-log-format", "json")
        paths = ("/never", "/begun", "/core/never", "/static/large.bin")
        with (
            cluster(*flags, *log, cwd=self.folder, workers=1) as running,
            contextlib.ExitStack() as clients,
        ):
            for path in paths:
                client = clients.enter_context(running.connect())
                client.sendall(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
            for _ in range(3):
                running.wait_for(r"asked for /")
            stop(running)
        lines = map(json.loads, self.path.read_text("ascii").splitlines())
        found = {line["target"]: line for line in lines}
        self.assertEqual(found.keys(), set(paths))
        for path, line in found.items():
            self.assertFalse(line["complete"], path)


class FileTests(AccessLogCase):
    """The file itself, whatever is written to it."""

    def test_every_worker_opens_the_new_file(self) -> None:
        """A USR1 that reaches a worker as well does it no harm."""
        with cluster("--access-log", "access.log", cwd=self.folder) as running:
            workers = running.children()
            old = self.path.rename(self.folder / "access.log.1")
            for pid in workers:
                self.assertIn(str(old), opened_by(pid))
                os.kill(pid, signal.SIGUSR1)
            running.signal(signal.SIGUSR1)
            eventually(lambda: all(str(self.path) in opened_by(pid) for pid in workers))
            for pid in workers:
                self.assertNotIn(str(old), opened_by(pid))
            self.assertEqual(running.children(), workers)
            running.get("/")

    def test_stdout_is_the_masters(self) -> None:
        """Workers have it open, though their own stdout is another pipe."""
        with cluster("--access-log", "-", workers=1) as running:
            stdout = str(Path(f"/proc/{running.pid}/fd/1").readlink())
            for pid in running.children():
                self.assertIn(stdout, opened_by(pid))
                own = str(Path(f"/proc/{pid}/fd/1").readlink())
                self.assertNotEqual(own, stdout)

    def test_file_that_cannot_be_opened(self) -> None:
        """One line that names it, and status 1."""
        path = self.folder / "missing" / "access.log"
        ended = subprocess.run(
            [
                *(f"{SCRIPTS}/twistd", "-n", "--pidfile=", "clusterapp"),
                *("--listen", "tcp:0:interface=127.0.0.1", "--workers", "1"),
                *("--state", str(self.folder), "--access-log", str(path)),
            ],
            cwd=self.folder,
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        self.assertEqual(ended.returncode, 1, ended)
        self.assertIn(
            f"clusterapp: access_log = {str(path)!r}: cannot be opened for appending:"
            " No such file or directory\n",
            ended.stdout,
        )

    def test_log_file_of_twistd(self) -> None:
        """It is renamed by twistd at the same signal, as it always was."""
        log = self.folder / "twistd.log"
        running = Running(
            [
                *(f"{SCRIPTS}/twistd", "-n", "--pidfile=", "--logfile", str(log)),
                *("clusterapp", "--listen", "tcp:0:interface=127.0.0.1"),
                *("--workers", "1", "--state", str(self.folder / "state")),
                *("--access-log", str(self.path)),
            ],
            cwd=self.folder,
        )
        self.addCleanup(running.close)
        eventually(lambda: log.exists() and "is ready" in log.read_text())
        self.path.unlink()
        running.signal(signal.SIGUSR1)
        eventually(self.path.exists)
        eventually((self.folder / "twistd.log.1").exists)
