"""A server as a process: started on its CPU, waited for, ended."""

import http.client
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from http import HTTPStatus
from pathlib import Path

from bench.errors import BenchError, ServerError

HOST = "127.0.0.1"

#: How long a server may take to listen, or to end, in seconds.
START, END = 60.0, 15.0
_PAUSE = 0.02
_SHOWN_LINES = 30

#: What servers inherit of our environment: nothing that could configure them.
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR")


class Server:
    """
    A server that runs, in a process group of its own.

    :param command: what starts it.
    :param cwd: where.
    :param env: what is added to its environment.
    :param cpus: the only CPUs that it may use.
    :param log: the file for what it prints.
    :raise BenchError: there is no such program.
    """

    def __init__(
        self,
        command: list[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        cpus: Collection[int],
        log: Path,
    ) -> None:
        self._log = log
        try:
            with log.open("wb") as output, pinned(cpus):
                self._process = subprocess.Popen(
                    command,
                    cwd=cwd,
                    env={**_environment(), **env},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as error:
            raise BenchError(f"cannot start {command[0]}: {error}") from error

    @property
    def pid(self) -> int:
        """The process that was started; others may come from it."""
        return self._process.pid

    def wait_until_listening(self, port: int, *, deadline: float = START) -> None:
        """
        Wait until a connection can be made.

        :raise ServerError: it ends before, or takes longer than ``deadline`` seconds.
        """
        self._wait(lambda: _listens(port), "does not listen", deadline)

    def wait_until_ready(
        self, port: int, path: str, *, deadline: float = START
    ) -> None:
        """
        Wait until a path is answered with 200.

        :raise ServerError: it ends before, or takes longer than ``deadline`` seconds.
        """
        self._wait(lambda: _is_ready(port, path), "is not ready", deadline)

    def check(self) -> None:
        """
        Check that the server still runs.

        :raise ServerError: it does not.
        """
        if _has_ended(self.pid):
            raise self.fault("has ended")

    def fault(self, reason: str) -> ServerError:
        """Make an error that carries the last lines that were printed."""
        lines = self._log.read_text("utf-8", "replace").splitlines()
        return ServerError(reason, "\n".join(lines[-_SHOWN_LINES:]))

    def _wait(self, is_so: Callable[[], bool], complaint: str, deadline: float) -> None:
        until = time.monotonic() + deadline
        while not is_so():
            self.check()
            if time.monotonic() > until:
                raise self.fault(f"{complaint} after {deadline:g} s")
            time.sleep(_PAUSE)

    def close(self) -> None:
        """Terminate the server, and kill the rest of its process group."""
        try:
            if not _has_ended(self.pid):
                self._process.terminate()
                _wait_for_end(self.pid, END)
        finally:
            # Until the leader is reaped, the number of its group is no one else's.
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()


@contextmanager
def pinned(cpus: Collection[int]) -> Iterator[None]:
    """Pin this process, and the processes it starts meanwhile, to some CPUs."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def free_port() -> int:
    """Find a TCP port that nobody listens on now."""
    with socket.create_server((HOST, 0)) as free:
        port: int = free.getsockname()[1]
        return port


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in _INHERITED if name in os.environ}


def _listens(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=START).close()
    except OSError:
        return False
    return True


def _is_ready(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=START)
    with closing(connection):
        connection.request("GET", path)
        return connection.getresponse().status == HTTPStatus.OK


def _has_ended(pid: int) -> bool:
    """Return whether a child has ended, without reaping it."""
    how = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, pid, how) is not None


def _wait_for_end(pid: int, seconds: float) -> None:
    """Wait until a child has ended, or the time is over (pidfd_open(2))."""
    process = os.pidfd_open(pid)
    try:
        select.select([process], [], [], seconds)
    finally:
        os.close(process)
