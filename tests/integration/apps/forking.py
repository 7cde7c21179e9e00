"""Forks of the process that serves, which end in each way that code may end."""

import asyncio
import os
import sys
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from clusterapp import Application

app = Application()


def fork(how: str) -> str:
    """Fork; the child ends as it is told, and its parent tells its status."""
    pid = os.fork()
    if pid == 0:
        ENDS[how]()
        return "from the fork"
    return str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def fail() -> None:
    """Raise an exception."""
    raise ValueError("of a fork")


ENDS: dict[str, Callable[[], object]] = {
    "exit": lambda: sys.exit(0),
    "status": lambda: sys.exit(7),
    "text": lambda: sys.exit("a fork says why"),
    "fail": fail,
    "return": lambda: None,
    "own": lambda: os._exit(9),
}


def at_once(how: str) -> str:
    """Fork in the handler itself."""
    return fork(how)


async def later(how: str) -> str:
    """Fork in a coroutine that has waited for the reactor."""
    await deferLater(reactor, 0)
    return fork(how)


def timer(how: str) -> Deferred[str]:
    """Fork in a timer, which the reactor calls."""
    told: Deferred[str] = Deferred()

    def ring() -> None:
        status = fork(how)
        if status != "from the fork":
            told.callback(status)

    reactor.callLater(0, ring)
    return told


def thread(how: str) -> Deferred[str]:
    """Fork in a thread of the reactor."""
    return deferToThread(fork, how)


async def _step(how: str) -> str:
    await asyncio.sleep(0)
    return fork(how)


def task(how: str) -> Deferred[str]:
    """Fork in a task of asyncio."""
    return Deferred.fromFuture(asyncio.ensure_future(_step(how)))


WHERE: dict[str, Callable[[str], Any]] = {
    "at_once": at_once,
    "later": later,
    "timer": timer,
    "thread": thread,
    "task": task,
}


def forks(_: Any, where: str, how: str) -> Any:
    """Fork there, and end the child so."""
    return WHERE[where](how)


def pid(_: Any) -> str:
    """Return which process serves."""
    return str(os.getpid())


for place in (app, app.core):
    prefix = "" if place is app else "/core"
    place.route(f"{prefix}/<where>/<how>")(forks)
    place.route(f"{prefix}/pid")(pid)


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Fork in a thread of a WSGI application."""
    body = fork(environ["PATH_INFO"].lstrip("/")).encode()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body]
