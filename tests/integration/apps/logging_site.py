"""An application that logs, prints and fails in every way."""

import asyncio
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import warnings
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.web.server import Request

from clusterapp import Application

app = Application()
log = Logger("shop.orders")
stock = logging.getLogger("shop.stock")


clock: Any = reactor
empty: dict[str, int] = {}


@app.route("/raise/<int:number>")
@app.core.route("/core/raise/<int:number>")
def fails(request: Request, number: int) -> str:
    """Fail at once."""
    raise ValueError(f"no {number} → here")


@app.route("/raise-from")
@app.core.route("/core/raise-from")
async def raise_from(request: Request) -> bytes:
    """Fail after a failure, with several errors."""
    try:
        await fail(OSError("no line"))
    except OSError as error:
        parts = [ValueError("first part"), KeyError("second part")]
        raise ExceptionGroup("cannot ship", parts) from error
    return b""


@app.route("/raise-late/<int:number>")
async def fails_late(request: Request, number: int) -> str:
    """Fail a turn of the event loop later."""
    later: Deferred[None] = Deferred()
    clock.callLater(0, later.callback, None)
    await later
    raise KeyError(number)


@app.route("/say/<what>")
@app.core.route("/core/say/<what>")
def says(request: Request, what: str) -> bytes:
    """Log in one of many ways."""
    getattr(Say, what)()
    return b"said"


class Finalized:
    """What fails when nobody needs it any more."""

    def __del__(self) -> None:
        raise OSError("too late")


class Say:
    """The ways."""

    @staticmethod
    def event() -> None:
        log.info("order {number}", number=3)
        log.error("no order {number}", number=4)

    @staticmethod
    def logging() -> None:
        try:
            _ = 1 / 0
        except ZeroDivisionError:
            stock.error("cannot ship %s", 7, exc_info=True)

    @staticmethod
    def root() -> None:
        try:
            _ = 1 / 0
        except ZeroDivisionError:
            logging.exception("no %s", "stock")  # noqa: LOG015 - as many do

    @staticmethod
    def warning() -> None:
        warnings.warn("old style", UserWarning, stacklevel=1)

    @staticmethod
    def print() -> None:
        print("printed → here")
        print("printed as an error", file=sys.stderr)

    @staticmethod
    def descriptors() -> None:
        os.write(1, b"raw out\n")
        subprocess.run(["sh", "-c", "echo from a program"], check=True)

    @staticmethod
    def raw_error() -> None:
        os.write(2, b"raw err\n")

    @staticmethod
    def fork() -> None:
        forked = multiprocessing.get_context("fork").Process(target=forked_says)
        forked.start()
        forked.join()

    @staticmethod
    def timer() -> None:
        clock.callLater(0, lambda: empty["timer"])

    @staticmethod
    def deferred() -> None:
        fail(RuntimeError("nobody hears"))

    @staticmethod
    def loop() -> None:
        asyncio.get_event_loop().call_soon(lambda: empty["loop"])

    @staticmethod
    def thread() -> None:
        threading.Thread(target=lambda: empty["thread"], name="spool").start()

    @staticmethod
    def finalizer() -> None:
        Finalized()

    @staticmethod
    def faked() -> None:
        print("\x1b[2J\r2026-01-01T00:00:00+0000 [fake#info] hi\x85\x00")
        log.error("first\n2026-01-01T00:00:00+0000 [fake#info] hi")

    @staticmethod
    def long() -> None:
        print("x" * 1_000_000)

    @staticmethod
    def much() -> None:
        print("y" * 10_000)

    @staticmethod
    def flood() -> None:
        for number in range(20_000):
            print(f"flood {number}")

    @staticmethod
    def killed() -> None:
        for number in range(100):
            print(f"last words {number} " + "z" * 1000)
        os.kill(os.getpid(), signal.SIGKILL)

    @staticmethod
    def exits() -> None:
        print("unfinished", end="")
        sys.stdout.flush()


def forked_says() -> None:
    """Log in a forked process."""
    print("printed by a forked process")
    stock.error("logged by a forked process %s", "w" * 5000)
