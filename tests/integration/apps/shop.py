"""The application that the integration tests run."""

import os
import time

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.web.iweb import IRequest

from clusterapp import Application

app = Application()
counted = {"orders": 0}


@app.on_start
def say_start() -> None:
    """Print lines, to be found in the master's log."""
    print("worker starts")
    print("first line\nsecond line")


@app.on_stop
def say_stop() -> None:
    """Print a line when the worker has drained."""
    print(f"worker {app.cluster.slot} stops")


@app.core.on_start
def say_core_start() -> None:
    """Print a line in the process of the core."""
    print(f"core starts in {os.getpid()}")


@app.core.on_stop
async def say_core_stop() -> None:
    """Print a line when the core stops."""
    print("core stops")


@app.route("/pid")
def pid(request: IRequest) -> str:
    """Return which process answers."""
    return str(os.getpid())


@app.route("/slow/<float:seconds>")
async def slow(request: IRequest, seconds: float) -> str:
    """Answer after some time, while the worker does other things."""
    print(f"slow in {os.getpid()}")
    await deferLater(reactor, seconds)
    return "slow but sure"


@app.route("/block/<float:seconds>")
def block(request: IRequest, seconds: float) -> str:
    """Block the worker's event loop, as a worker must not."""
    print(f"blocking {os.getpid()}", flush=True)
    time.sleep(seconds)
    return "done"


@app.route("/crash")
def crash(request: IRequest) -> str:
    """Leave without a word."""
    os._exit(7)


@app.route("/through")
async def through(request: IRequest) -> str:
    """Ask the core from within a worker."""
    response = await app.cluster.core.post("http://core/orders")
    return "the core says " + await response.text()


@app.core.route("/orders", methods=["POST"])
def order(request: IRequest) -> str:
    """Count, in the one place where that is right."""
    counted["orders"] += 1
    return f"{counted['orders']} {os.getpid()}"


@app.core.route("/core/pid")
def core_pid(request: IRequest) -> str:
    """Return which process the core is."""
    return str(os.getpid())


@app.core.route("/core/crash")
def core_crash(request: IRequest) -> str:
    """Take the core's process away."""
    os._exit(7)
