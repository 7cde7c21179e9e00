"""An application that hangs in several ways, and one that only seems to."""

import os
import re
import time

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.web.iweb import IRequest

from clusterapp import Application

#: How long loading this module takes, in seconds.
time.sleep(float(os.environ.get("BOOT_SECONDS", "0")))

app = Application()


def say_pid() -> None:
    """Print the pid, so that the test knows which process it has hit."""
    print(f"busy {os.getpid()}", flush=True)


@app.route("/pid")
def pid(request: IRequest) -> str:
    """Return which process answers."""
    return str(os.getpid())


@app.route("/sleep")
def sleep_for_ever(request: IRequest) -> str:
    """Wait, and let go of the interpreter's lock meanwhile."""
    say_pid()
    time.sleep(600)
    return "done"


@app.route("/spin")
def spin_for_ever(request: IRequest) -> str:
    """Run Python code, which lets go of the lock now and then."""
    say_pid()
    while True:
        pass


@app.route("/match")
def match_for_ever(request: IRequest) -> str:
    """Run code in C, which never lets go of the lock."""
    say_pid()
    return str(re.match(r"(a+)+$", "a" * 60 + "b"))


@app.route("/wait")
async def wait_for_ever(request: IRequest) -> str:
    """Wait, as one should: the event loop turns."""
    say_pid()
    await deferLater(reactor, 600.0)
    return "done"


@app.route("/burn/<float:seconds>")
async def burn(request: IRequest, seconds: float) -> str:
    """Use the whole of a CPU, but let the event loop turn."""
    until = time.monotonic() + seconds
    while (now := time.monotonic()) < until:
        while time.monotonic() < now + 0.05:
            pass
        await deferLater(reactor, 0.0)
    return f"burnt by {os.getpid()}"


@app.core.route("/core/sleep")
def sleep_in_the_core(request: IRequest) -> str:
    """Block the core."""
    say_pid()
    time.sleep(600)
    return "done"
