"""An application whose core starts a process that Python waits for at exit."""

import multiprocessing
import signal

from twisted.web.iweb import IRequest

from clusterapp import Application

app = Application()
started: list[int | None] = []


@app.core.on_start
def start_other() -> None:
    """Start a process that never ends by itself, and is no daemon."""
    other = multiprocessing.get_context("fork").Process(target=signal.pause)
    other.start()
    started.append(other.pid)


@app.core.route("/core")
def core(request: IRequest) -> str:
    """Return the pid of the process that was started."""
    return str(started[0])
