"""asyncio in every place where code of an application runs."""

import tempfile
from contextlib import AbstractContextManager
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.running import RunningCluster, cluster

SHOP = """\
import asyncio

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from clusterapp import Application

SEEN = []


def see(place):
    SEEN.append((place, asyncio.get_running_loop()))


{importing}
app = Application()


async def connect(place):
    see(place)
    async with asyncio.timeout(20):  # as clients of databases do
        await asyncio.sleep(0)
    await deferLater(reactor, 0, lambda: None)
    await asyncio.wait_for(asyncio.sleep(0), 20)
    SEEN.append((place, asyncio.create_task(asyncio.sleep(600)).get_loop()))


async def leave(place):
    await asyncio.sleep(0)
    print("stop hook of", place)


{hooks}
async def later():
    await asyncio.sleep(0)
    return "later"


def answer(request):
    return Deferred.fromFuture(asyncio.ensure_future(later()))


def loops(request):
    return str((len(SEEN), len({{loop for _, loop in SEEN}})))


async def awaits_future(request):
    await asyncio.sleep(0.001)


for name, handler in (
    ("answer", answer), ("loops", loops), ("awaits", awaits_future)
):
    app.route("/" + name)(handler)
    app.core.route("/core/" + name)(handler)
"""

HOOKS = """\
app.on_start(lambda: connect("worker"))
app.core.on_start(lambda: connect("core"))
app.on_stop(lambda: leave("worker"))
app.core.on_stop(lambda: leave("core"))
"""


EXITS = """\
import asyncio
import os
import sys

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from clusterapp import Application

app = Application()


async def fails(error):
    await asyncio.sleep(0.001)
    raise error


def task(request, name):
    error = {"exit": SystemExit(3), "interrupt": KeyboardInterrupt()}[name]
    return Deferred.fromFuture(asyncio.ensure_future(fails(error)))


def callback(request):
    asyncio.get_running_loop().call_soon(sys.exit, 4)
    return "called"


def pid(request):
    # Once there is a pool of threads, an end of the main thread waits for it.
    return deferToThread(lambda: str(os.getpid()))


def stop(request):
    asyncio.get_running_loop().stop()
    return Deferred()


def reactor_stop(request):
    reactor.stop()
    return Deferred()


for prefix, each in (("", app), ("/core", app.core)):
    each.route(prefix + "/task/<name>")(task)
    for handler in (callback, pid, stop, reactor_stop):
        each.route(prefix + "/" + handler.__name__)(handler)
"""


class AsyncioCase(SynchronousTestCase):
    """An application that uses asyncio."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="clusterapp-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def shop(self, *, core: str, loop: bool) -> AbstractContextManager[RunningCluster]:
        """
        Run it.

        :param loop: whether the application uses asyncio before requests, too.
        """
        (self.folder / "shop.py").write_text(
            SHOP.format(
                importing='see("import")' if loop else "", hooks=HOOKS if loop else ""
            )
        )
        return cluster("--app", "shop:app", "--core", core, cwd=self.folder, workers=1)


class RunningLoopTests(AsyncioCase):
    """In workers and in an isolated core the loop runs from the first line on."""

    def test_import_hooks_and_handlers(self) -> None:
        """All of them have the same running loop, and hooks may await its futures."""
        with self.shop(core="isolated", loop=True) as running:
            for place in ("", "/core"):
                self.assertEqual(running.get(f"{place}/loops"), b"(3, 1)")
                self.assertEqual(running.get(f"{place}/answer"), b"later")
            running.process.terminate()
            running.wait()
            for place in ("worker", "core"):
                self.assertIn(f"stop hook of {place}", running.text())
            self.assertNotIn("Traceback", running.text())


class NoLoopTests(AsyncioCase):
    """A core in a master on a reactor without asyncio."""

    def test_core_is_told_what_to_do(self) -> None:
        """Nothing waits for ever: it is a 500, and the log names the cure."""
        with self.shop(core="master", loop=False) as running:
            self.assertEqual(running.get("/answer"), b"later")
            for target in ("/core/answer", "/core/awaits"):
                status, _, _ = running.request("GET", target)
                self.assertEqual(status, 500)
                running.wait_for("with --core isolated")


class ExitTests(AsyncioCase):
    """What asyncio lets through its event loop: a SystemExit, and a stop."""

    def exits(self) -> AbstractContextManager[RunningCluster]:
        """Run an application that does it, with an isolated core."""
        (self.folder / "exits.py").write_text(EXITS)
        return cluster(
            *("--app", "exits:app", "--core", "isolated"), cwd=self.folder, workers=1
        )

    def test_exit_in_a_task(self) -> None:
        """One request fails, and the process serves the next ones."""
        with self.exits() as running:
            for prefix in ("", "/core"):
                before = running.get(f"{prefix}/pid")
                for name, error in (
                    ("exit", "SystemExit"),
                    ("interrupt", "KeyboardInterrupt"),
                ):
                    status, _, _ = running.request("GET", f"{prefix}/task/{name}")
                    self.assertEqual(status, 500)
                    running.wait_for(f"{error} in an asyncio task or callback")
                self.assertEqual(running.get(f"{prefix}/callback"), b"called")
                running.wait_for("SystemExit in an asyncio task or callback")
                self.assertEqual(running.get(f"{prefix}/pid"), before)

    def test_stop(self) -> None:
        """The process ends at once, says why, and is replaced."""
        with self.exits() as running:
            before = running.get("/pid")
            for target in ("/stop", "/reactor_stop"):
                connection = running.connect()
                connection.sendall(f"GET {target} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
                running.wait_for("the application has stopped the reactor")
                running.wait_for("left with status 70")
                running.wait_for(r"worker 0 is ready after")
                connection.close()
            self.assertNotEqual(running.get("/pid"), before)
