"""Starts processes in all the ways that an application may."""

import asyncio
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.threads import deferToThread
from twisted.internet.utils import getProcessOutputAndValue

from clusterapp import Application

app = Application()

#: So many processes of each kind are under way at once.
OF_EACH_AT_ONCE = 5
#: Seconds in which one must have ended.
PATIENCE = 20


class Exit(ProcessProtocol):
    """Fires when a process has exited that shares this one's pipes."""

    def __init__(self) -> None:
        self.seen: Deferred[None] = Deferred()

    def processExited(self, reason: Any) -> None:
        self.seen.callback(None)


def output() -> Deferred[Any]:
    """Collect the output of a process, and its exit status."""
    told: Deferred[Any] = getProcessOutputAndValue("/bin/sh", ["-c", "echo x; exit 3"])
    return told.addCallback(lambda heard: heard == (b"x\n", b"", 3))


def no_pipes() -> Deferred[Any]:
    """Notice the exit of a process that has no pipe to the parent."""
    protocol = Exit()
    reactor.spawnProcess(
        protocol, "/bin/sleep", ["sleep", "0.01"], childFDs={0: 0, 1: 1, 2: 2}
    )
    return protocol.seen.addCallback(lambda _: True)


async def of_asyncio() -> Any:
    """Start one with asyncio."""
    process = await asyncio.create_subprocess_exec(
        "/bin/echo", "x", stdout=subprocess.PIPE
    )
    out, _ = await process.communicate()
    return (out, process.returncode) == (b"x\n", 0)


def with_subprocess() -> bool:
    """Start one with subprocess, in a thread."""
    done = subprocess.run(["/bin/echo", "x"], capture_output=True, check=True)
    return done.stdout == b"x\n"


#: multiprocessing itself loses exit codes if several threads start processes: of plain
#: Python's, about 5 of 1,000 are None.
ONE_AT_A_TIME = threading.Lock()


def _exit() -> None:
    sys.exit(5)


def with_multiprocessing() -> bool:
    """Fork one with multiprocessing."""
    with ONE_AT_A_TIME:
        process = multiprocessing.get_context("fork").Process(target=_exit)
        process.start()
        process.join(PATIENCE)
        return process.exitcode == 5


WAYS = {
    "output": output,
    "no_pipes": no_pipes,
    "asyncio": lambda: Deferred.fromFuture(asyncio.ensure_future(of_asyncio())),
    "subprocess": lambda: deferToThread(with_subprocess),
    "multiprocessing": lambda: deferToThread(with_multiprocessing),
}


async def start(request: Any) -> str:
    """Start so many processes in each way, a few at once; count those heard of."""
    counts = dict.fromkeys(WAYS, 0)
    many = int(request.args[b"many"][0])
    # All ways at the same time: none may take another's processes.
    for _ in range(0, many, OF_EACH_AT_ONCE):
        few = [name for name in WAYS for _ in range(OF_EACH_AT_ONCE)]
        started = [WAYS[name]().addTimeout(PATIENCE, reactor) for name in few]
        heard = await gatherResults(started, consumeErrors=True)
        for name, well in zip(few, heard, strict=True):
            counts[name] += well is True
    counts["zombies"] = zombies()
    return json.dumps(counts)


def zombies() -> int:
    """Count the children of this process that nobody has waited for."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text("ascii")
    states = [
        Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0]
        for pid in children.split()
    ]
    return states.count("Z")


def _hold(pipe: Any) -> None:
    pipe.send(
        {
            "handlers": {
                number.name: str(signal.getsignal(number))
                for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
            },
            "sockets": _named_sockets(),
        }
    )
    signal.pause()


def _named_sockets() -> list[str]:
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            with socket.socket(fileno=os.dup(int(entry.name))) as each:
                found.append(str(each.getsockname() or "unnamed"))
        except OSError:
            continue
    return found


MAX_PENDING_INPUT: list[Any] = []


def hold(_: Any) -> str:
    """Fork a process that stays; return what it has of this one."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=_hold, args=(theirs,), daemon=True)
    process.start()
    MAX_PENDING_INPUT.append((process, ours))
    return json.dumps({"pid": process.pid, **ours.recv()})


def terminate(_: Any) -> str:
    """End the process that was forked; return how it ended."""
    process, _ours = MAX_PENDING_INPUT.pop()
    process.terminate()
    process.join(PATIENCE)
    return str(process.exitcode)


def leave(_: Any) -> str:
    """Make multiprocessing forget the forked process, so that it outlives this one."""
    multiprocessing.process._children.clear()  # type: ignore[attr-defined]
    return "ok"


def interrupted(request: Any) -> str:
    """Send a signal to a program that was just started; return how it ended."""
    number = signal.Signals[request.args[b"name"][0].decode()]
    with subprocess.Popen(["/bin/sleep", "600"]) as program:
        program.send_signal(number)
        try:
            return str(program.wait(PATIENCE))
        except subprocess.TimeoutExpired:
            program.kill()
            return "still running"


for name, handler in (
    ("start", start),
    ("hold", hold),
    ("terminate", terminate),
    ("leave", leave),
    ("interrupted", interrupted),
):
    app.route(f"/{name}")(handler)
    app.core.route(f"/core/{name}")(handler)
