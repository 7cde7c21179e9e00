"""An application that is well, with routes by which a test can harm it."""

import os
import signal
import time
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.web.iweb import IRequest

from clusterapp import Application

HERE = Path(__file__).parent

#: Which deploy this is; read once, as code is.
VERSION = (HERE / "version").read_text("ascii")

app = Application()
leaked: list[bytes] = []


def answer(number: int, padding: int = 0) -> bytes:
    """Return which process of which deploy answers what."""
    line = f"request {number} answered by {os.getpid()} of version {VERSION}\n"
    return line.encode("ascii") + b"x" * padding


@app.on_start
def crash_if_told_to() -> None:
    """Leave at once, as often as a file says that is to be done."""
    told = HERE / f"crash-{app.cluster.slot}"
    if told.exists() and (times := int(told.read_text("ascii"))):
        told.write_text(f"{times - 1}", "ascii")
        print(f"worker {app.cluster.slot} crashes at once", flush=True)
        os._exit(7)


@app.route("/")
def root(request: IRequest) -> bytes:
    """Answer the health check."""
    return b"well\n"


@app.route("/whoami/<int:number>")
def whoami(request: IRequest, number: int) -> bytes:
    """Answer at once."""
    return answer(number)


@app.route("/keyed")
def keyed(request: IRequest) -> bytes:
    """Answer at once; the target says by which key the client is known."""
    return answer(int(request.args[b"number"][0]))


@app.route("/padded/<int:number>")
def padded(request: IRequest, number: int) -> bytes:
    """Answer at once, with more than goes into a packet."""
    return answer(number, 5000)


@app.route("/chunked/<int:number>")
async def chunked(request: IRequest, number: int) -> bytes:
    """Answer in pieces, over some turns of the event loop."""
    request.write(answer(number))
    for _ in range(5):
        await deferLater(reactor, 0.002)
        request.write(b"x" * 1000)
    return b""


@app.route("/slow/<int:number>")
async def slow(request: IRequest, number: int) -> bytes:
    """Answer after two seconds."""
    print(f"slow request {number} in {os.getpid()}", flush=True)
    await deferLater(reactor, 2.0)
    return answer(number)


@app.route("/block")
def block(request: IRequest) -> bytes:
    """Block the event loop, as a worker must not."""
    print(f"blocked {os.getpid()}", flush=True)
    time.sleep(600)
    return b"never\n"


@app.route("/crash")
def crash(request: IRequest) -> bytes:
    """Crash, as a fault in a library of C does."""
    os.kill(os.getpid(), signal.SIGSEGV)
    return b"never\n"


@app.route("/leak/<int:number>")
def leak(request: IRequest, number: int) -> bytes:
    """Keep another 100 KiB, for ever, each byte of it in use."""
    leaked.append(b"x" * 102_400)
    return answer(number)


@app.core.route("/core/<int:number>")
def core(request: IRequest, number: int) -> bytes:
    """Answer in the core."""
    return answer(number)
