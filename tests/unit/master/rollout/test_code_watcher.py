"""Watching code, with real files and a real thread."""

import resource
import sys
import threading
from pathlib import Path
from typing import Any

import watchfiles
from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall, deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from clusterapp.master.rollout.code_watcher import CodeWatch, folders_of_code
from tests.unit.fakes import Log, descriptors

reactor: Any = installed


def turn() -> Deferred[None]:
    """Return a Deferred that fires after some turns of the reactor."""
    return deferLater(reactor, 0.01)


def kernel_objects() -> set[tuple[int, str]]:
    """Return the descriptors of inotify, epoll and eventfd objects."""
    return {each for each in descriptors() if each[1].startswith("anon_inode")}


class CodeWatchTests(TestCase):
    """What is told of a folder, and when nothing more is."""

    def setUp(self) -> None:
        # A hidden folder above the one that is watched does not matter.
        self.folder = Path(".home/shop").absolute()
        self.folder.mkdir(parents=True)
        self.told: list[frozenset[Path]] = []
        self.threads: set[threading.Thread] = set()
        self.waited: tuple[str, Deferred[None]] | None = None
        self.watch = CodeWatch(reactor, [self.folder], self.changed)
        self.before = kernel_objects()
        self.addCleanup(self.closed)
        self.addCleanup(self.stop)

    def stop(self) -> None:
        if self.watch.running:
            self.watch.stopService()

    async def closed(self) -> None:
        """
        Wait until the threads of watchfiles have closed what they watched with.

        They do so when they end; another test would see that its descriptors vanish.
        """
        for _ in range(500):
            if kernel_objects() <= self.before:
                return
            await turn()
        self.assertLessEqual(kernel_objects(), self.before)

    def changed(self, paths: frozenset[Path]) -> None:
        self.told.append(paths)
        self.threads.add(threading.current_thread())
        if self.waited is not None and self.folder / self.waited[0] in paths:
            waited, self.waited = self.waited[1], None
            waited.callback(None)

    def hear_of(self, name: str) -> Deferred[None]:
        """Return what fires when a file is told of."""
        told: Deferred[None] = Deferred()
        self.waited = (name, told)
        return told.addTimeout(30, reactor)

    async def start(self) -> None:
        """Start, and wait until the thread watches."""
        self.watch.startService()
        first = self.hear_of("first.py")
        writing = LoopingCall(self.write, "first.py")
        writing.start(0.02)
        await first
        writing.stop()
        await self.marked()

    async def marked(self) -> set[str]:
        """Return the names that were told until now, and what is under way."""
        last = self.hear_of("marker.py")
        self.write("marker.py")
        await last
        names = {
            path.relative_to(self.folder).as_posix()
            for paths in self.told
            for path in paths
        }
        self.told.clear()
        return names - {"marker.py"}

    def write(self, name: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x = 1\n")

    async def test_code(self) -> None:
        """Files that are made, written, renamed and removed, however deep."""
        (self.folder / "sub/deep").mkdir(parents=True)
        self.write("gone.py")
        self.write("old.py")
        await self.start()
        self.write("shop.py")
        self.write("sub/deep/views.py")
        self.write("clusterapp.toml")
        (self.folder / "gone.py").unlink()
        (self.folder / "old.py").rename(self.folder / "new.py")
        self.assertEqual(
            await self.marked(),
            {
                *("shop.py", "sub/deep/views.py", "clusterapp.toml"),
                *("gone.py", "old.py", "new.py"),
            },
        )

    async def test_new_folder(self) -> None:
        """It is watched as well; what came with it may not be told by itself."""
        await self.start()
        (self.folder / "fresh").mkdir()
        told = self.hear_of("fresh/views.py")
        writing = LoopingCall(self.write, "fresh/views.py")
        writing.start(0.02)
        await told
        writing.stop()

    async def test_what_is_no_code(self) -> None:
        """Other files, hidden ones, those of packages, and editors' copies."""
        names = [
            *("static/app.css", "page.html", "notes.txt", "shop.pyc"),
            *("__pycache__/a.py", ".git/a.py", ".venv/lib/a.py", "sub/.cache/a.py"),
            *("node_modules/x/a.py", "env/lib/python3.11/site-packages/a.py"),
            *(".shop.py.swp", ".#shop.py", "#shop.py#", "shop.py~", "4913"),
            *("flycheck_shop.py", "shop_flymake.py", "shop.py___jb_tmp___"),
        ]
        for name in names:
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        await self.start()
        for name in names:
            self.write(name)
        self.assertEqual(await self.marked(), set())

    async def test_changes_that_belong_together(self) -> None:
        """They are told at once, so that one reload serves them all."""
        await self.start()
        for number in range(50):
            self.write(f"part{number}.py")
        told = self.hear_of("part49.py")
        await told
        self.assertEqual(len(self.told), 1)
        self.assertEqual(len(self.told[0]), 50)

    async def test_thread_of_the_reactor(self) -> None:
        await self.start()
        self.assertEqual(self.threads, {threading.main_thread()})

    async def test_stop(self) -> None:
        """At once, with its thread and its descriptors; nothing is told any more."""
        await turn()  # from then on the reactor has its own
        before = descriptors()
        await self.start()
        self.write("late.py")
        began = reactor.seconds()
        self.watch.stopService()
        self.assertLess(reactor.seconds() - began, 2.0)
        names = {thread.name for thread in threading.enumerate()}
        self.assertNotIn("code watch", names)
        # A thread of the library's own closes them.
        while descriptors() - before:
            await turn()
        self.assertEqual(self.told, [])

    async def test_another_start(self) -> None:
        await self.start()
        self.watch.stopService()
        self.told.clear()
        await self.start()
        self.write("shop.py")
        self.assertEqual(await self.marked(), {"shop.py"})

    async def test_nothing_to_watch_with(self) -> None:
        """That is said, and nothing else happens."""
        log = Log(self)
        said: Deferred[None] = Deferred()
        tell = self.watch._cannot_watch

        def telling(error: Exception) -> None:
            tell(error)
            said.callback(None)

        self.patch(self.watch, "_cannot_watch", telling)
        await turn()  # from then on the reactor has its own
        self.use_up_descriptors()
        self.watch.startService()
        await said.addTimeout(30, reactor)
        self.assertIn("code is not watched any more", log.text())

    def use_up_descriptors(self) -> None:
        """Prevent this process from opening more descriptors during the test."""
        assert watchfiles  # its import opens files
        most, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (most, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))


class FolderTests(SynchronousTestCase):
    """Where the code of an application is."""

    def setUp(self) -> None:
        self.here, self.elsewhere = Path("here").absolute(), Path("there").absolute()
        for folder in (self.here, self.elsewhere / "pack"):
            folder.mkdir(parents=True)
        self.patch(sys, "path", [str(self.here), str(self.elsewhere), *sys.path])

    def module(self, path: Path) -> None:
        path.write_text("raise AssertionError('it must not be imported')\n")

    def test_working_folder(self) -> None:
        self.module(self.here / "watched_shop.py")
        for spec in (None, "watched_shop:app", "no_such_module:app", "__main__:app"):
            self.assertEqual(folders_of_code(self.here, spec), [self.here], spec)

    def test_module_elsewhere(self) -> None:
        """Its folder; of a package the whole package."""
        self.module(self.elsewhere / "watched_one.py")
        self.module(self.elsewhere / "pack/__init__.py")
        self.assertEqual(
            folders_of_code(self.here, "watched_one:app"), [self.here, self.elsewhere]
        )
        self.assertEqual(
            folders_of_code(self.here, "pack.views.web:app"),
            [self.here, self.elsewhere / "pack"],
        )
        self.assertEqual(
            folders_of_code(self.here, "pack:app", "pack.core:core", None),
            [self.here, self.elsewhere / "pack"],
        )

    def test_installed_package(self) -> None:
        """Nobody edits it in its place."""
        self.assertEqual(folders_of_code(self.here, "klein:app"), [self.here])
        self.assertEqual(folders_of_code(self.here, "sys:app"), [self.here])
