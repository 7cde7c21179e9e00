"""A real cluster in a process of its own, for tests that need one."""

import http.client
import json
import os
import queue
import re
import select
import signal
import socket
import subprocess
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

#: No event that a test waits for may take longer than this, in seconds.
DEADLINE = 30.0

ROOT = Path(__file__).resolve().parents[2]
#: The applications and programs that these tests run.
APPS = ROOT / "tests" / "integration" / "apps"
SCRIPTS = Path(sysconfig.get_path("scripts"))


class Running:
    """
    A program that runs, and everything that it has printed so far.

    :param command: what to run.
    :param cwd: where to run it.
    :param env: what is added to the environment, which is otherwise cleaned of
        what could change a cluster's settings.
    :param pass_fds: descriptors that it inherits.
    """

    def __init__(
        self,
        command: list[str],
        *,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.lines: list[str] = []
        self._fresh: queue.Queue[str | None] = queue.Queue()
        self.process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**clean_environment(), **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            pass_fds=pass_fds,
            # Whatever it starts can be found again, whosever child that is by then.
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_for(self, pattern: str, *, deadline: float = DEADLINE) -> re.Match[str]:
        """Wait for a line that the program has not been asked for yet."""
        until = time.monotonic() + deadline
        while (left := until - time.monotonic()) > 0:
            try:
                line = self._fresh.get(timeout=left)
            except queue.Empty:
                break
            if line is None:
                break
            if found := re.search(pattern, line):
                return found
        raise AssertionError(f"{pattern!r} was not printed:\n{self.text()}")

    def text(self) -> str:
        """Everything that was printed."""
        return "\n".join(self.lines)

    def signal(self, number: int) -> None:
        """Send the program a signal."""
        self.process.send_signal(number)

    def wait(self, *, deadline: float = DEADLINE) -> int:
        """
        Wait until the program has ended, and return its exit status.

        :raise AssertionError: if what it has started keeps its output open, such as a
            new master: then `process` is to be waited for.
        """
        status = self.process.wait(deadline)
        self._reader.join(deadline)
        assert not self._reader.is_alive(), f"it has not ended:\n{self.text()}"
        return status

    def close(self) -> None:
        """
        End the program and its children, whatever state they are in.

        :raise AssertionError: if what it has started lives on, such as a new master
            whose test has failed before it ended it.
        """
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(DEADLINE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(DEADLINE)
        self._reader.join(DEADLINE)
        # A file that another thread reads cannot be closed: it would wait for ever.
        if is_left := self._reader.is_alive():
            os.killpg(self.process.pid, signal.SIGKILL)
            self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()
        assert not is_left, f"something has outlived its program:\n{self.text()}"

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            self._fresh.put(line)
        self._fresh.put(None)


class RunningCluster(Running):
    """
    A cluster that any command starts.

    :param command: what to run, with all its flags.
    :param workers: how many workers it starts.
    :param cwd: where to run it.
    :param env: what is added to the environment.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        workers: int,
        cwd: Path,
        env: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(list(command), cwd=cwd, env=env)
        self.workers = workers
        self.port = 0

    def started(self) -> Self:
        """Wait until every worker is ready."""
        self.port = int(self.wait_for(r"listening at http://[^ ]*:(\d+)")[1])
        for _ in range(self.workers):
            self.wait_for(r"worker \d+ is ready")
        return self

    @property
    def pid(self) -> int:
        """The master's pid."""
        return self.process.pid

    def children(self) -> set[int]:
        """The pids of the master's children."""
        return children_of(self.pid)

    def request(
        self,
        method: str,
        target: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, dict[str, str], bytes]:
        """Send one request on a connection of its own."""
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=DEADLINE
        )
        try:
            connection.request(method, target, body=body, headers=dict(headers or {}))
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()
        finally:
            connection.close()

    def get(self, target: str) -> bytes:
        """Get what must be there."""
        status, _, body = self.request("GET", target)
        if status != 200:
            raise AssertionError(f"GET {target}: {status} {body!r}\n{self.text()}")
        return body

    def json(self, target: str) -> object:
        """Get what must be there, as JSON."""
        return json.loads(self.get(target))

    def connect(self) -> socket.socket:
        """Open a raw connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE)


@contextmanager
def cluster(
    *flags: str,
    cwd: Path | None = None,
    workers: int = 2,
    listen: str = "tcp:0:interface=127.0.0.1",
    env: Mapping[str, str] | None = None,
    before: Sequence[str] = (),
) -> Iterator[RunningCluster]:
    """
    Run ``twistd -n clusterapp`` in a folder, an empty one if none is given.

    :param before: a command that runs the one that follows it, such as prlimit(1).
    """
    with tempfile.TemporaryDirectory(prefix="clusterapp-") as name:
        state, empty = Path(name) / "state", Path(name) / "empty"
        empty.mkdir()
        command = [
            *(*before, str(SCRIPTS / "twistd"), "-n", "--pidfile=", "clusterapp"),
            *("--workers", str(workers), "--listen", listen),
            *("--state", str(state), *flags),
        ]
        running = RunningCluster(command, workers=workers, cwd=cwd or empty, env=env)
        try:
            yield running.started()
        finally:
            running.close()


def clean_environment() -> dict[str, str]:
    """Return this process's environment without what clusterapp would read in it."""
    ours = {"PORT", "WORKER_NUM", "WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS"}
    return {
        name: value
        for name, value in os.environ.items()
        if name not in ours and not name.startswith("CLUSTERAPP_")
    }


def children_of(pid: int) -> set[int]:
    """Return the pids of a process's children, zombies left out."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text("ascii", "replace")
        except OSError:
            continue
        state, ppid = text.rpartition(")")[2].split()[:2]
        if int(ppid) == pid and state != "Z":
            found.add(int(stat.parent.name))
    return found


def eventually(check: Callable[[], bool], *, deadline: float = DEADLINE) -> None:
    """Wait until something that gives no event is so; looks at it ever again."""
    until = time.monotonic() + deadline
    pause = threading.Event()
    while not check():
        if time.monotonic() > until:
            raise AssertionError(f"not so within {deadline} s: {check}")
        pause.wait(0.02)


def wait_until_gone(*pids: int, deadline: float = DEADLINE) -> None:
    """Wait until processes have ended, whosever children they are (pidfd_open(2))."""
    until = time.monotonic() + deadline
    for pid in pids:
        try:
            process = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            left = max(0.0, until - time.monotonic())
            ended, _, _ = select.select([process], [], [], left)
        finally:
            os.close(process)
        if not ended:
            raise AssertionError(f"process {pid} has not ended within {deadline} s")


def is_alive(pid: int) -> bool:
    """Return whether a process is there and no zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] != "Z"
