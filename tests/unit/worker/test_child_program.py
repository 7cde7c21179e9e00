"""The body of a child process, without the process."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import CancelledError
from twisted.test.iosim import IOPump

from clusterapp.channel.bootstrap import CONTROL_FD, PRIVATE
from clusterapp.errors import ApplicationLoadError
from clusterapp.interfaces import Role
from clusterapp.web.loading import LoadedApplication, load
from clusterapp.web.static.static_files import StaticOptions
from clusterapp.worker import child_program as service
from clusterapp.worker.child_program import FAILED_BOOT
from tests.unit.fakes import Log
from tests.unit.master import master_apps
from tests.unit.worker.children import WORKER, ChildCase
from tests.unit.worker.inherited import LISTENER

BROKEN = "tests.unit.no_shop:app"


class BootTests(ChildCase):
    """From its first word to its last before it serves."""

    def test_ready(self) -> None:
        """It says so when it has loaded its application, and accepts."""
        acceptors = cast("Any", self.begin()._served).listeners._acceptors
        self.assertEqual(acceptors.keys(), {LISTENER, PRIVATE})
        self.assertEqual(self.master.readies, 1)
        self.assertEqual(self.master.cores, [True])
        # It is the loop that watches the socket, and tells that it did.
        loop = asyncio.get_event_loop()
        for acceptor in acceptors.values():
            self.assertTrue(loop.remove_reader(acceptor.fileno()))
        self.assertEqual(self.closed[0], CONTROL_FD)
        self.assertFalse(self.reactor.stopped)

    def test_options_of_static_files(self) -> None:
        """What the operator chooses reaches what serves them."""
        given: list[object] = []

        def noting(*arguments: Any) -> LoadedApplication:
            given.append(arguments[-1])
            return load(*arguments)

        self.patch(service, "load", noting)
        self.begin(
            static_cache="1 MiB", static_max_age=90.5, sendfile_header="X-Sendfile"
        )
        chosen = StaticOptions(
            cache_bytes=1024**2, max_age=90, sendfile_header="X-Sendfile"
        )
        self.assertEqual(given, [chosen])

    def test_start_hook_comes_first(self) -> None:
        waited = master_apps.pending(master_apps.START)
        self.begin(WORKER)
        self.assertEqual((self.master.readies, self.reactor.getReaders()), (0, []))
        self.assertEqual(master_apps.SEEN, [("worker", 3)])
        self.assertEqual(self.frozen, [])
        waited.callback(None)
        self.pump.flush()
        self.assertEqual(self.master.readies, 1)
        # What the application has loaded, before there are requests.
        self.assertEqual(self.frozen, [0])

    def begin_with_pages(self, role: Role = "worker") -> list[int]:
        """Start a child that has two; tell how many are kept when it is ready."""
        pages, cache = (Path(self.mktemp()).absolute() for _ in range(2))
        for folder in (pages, cache):
            folder.mkdir(mode=0o700)
        (pages / "page.html").write_text("{{ 'x' | double }}")
        (pages / "plain.html").write_text("x")
        master_apps.PAGES.append(str(pages))
        kept: list[int] = []
        self.patch(
            self.master, "ready", lambda _: kept.append(len(list(cache.iterdir())))
        )
        self.begin("tests.unit.master.master_apps:pages", role=role, cache=str(cache))
        return kept

    def test_templates_are_compiled_first(self) -> None:
        """After the start hooks, which may add filters, and before it is ready."""
        log = Log(self)
        self.assertEqual(self.begin_with_pages(), [2])
        self.assertEqual(log.text(), "")

    def test_core_compiles_no_templates(self) -> None:
        """It may need none of them."""
        self.assertEqual(self.begin_with_pages("core"), [0])

    def test_application_cannot_be_loaded(self) -> None:
        """The master is told, and acknowledges it, before the child leaves."""
        child = self.begin(BROKEN)
        [(loading, reason, _)] = self.master.failures
        self.assertIs(loading, True)
        self.assertIn("no module 'tests.unit.no_shop'", reason)
        self.assertNotIn(BROKEN, reason)
        self.assertEqual(child.exit_status, ApplicationLoadError.exit_status)
        self.assertTrue(self.reactor.stopped)

    def test_start_hook_that_fails(self) -> None:
        master_apps.START.append(ValueError("no database"))
        child = self.begin(WORKER)
        [(loading, reason, traceback)] = self.master.failures
        self.assertIs(loading, False)
        self.assertRegex(
            reason,
            r"^the start hook tests\.\S+\.start failed: ValueError: no database$",
        )
        self.assertEqual(traceback.count("Traceback"), 1)
        self.assertEqual(child.exit_status, FAILED_BOOT)
        self.assertTrue(self.reactor.stopped)

    def test_failure_whose_words_nobody_can_send(self) -> None:
        """It leaves all the same."""
        master_apps.START.append(ValueError("no \udcff"))
        self.begin(WORKER)
        [(_, reason, _)] = self.master.failures
        self.assertTrue(reason.endswith(" failed: ValueError: no \\udcff"), reason)
        self.assertTrue(self.reactor.stopped)

    def test_order_to_drain_crosses_the_failure(self) -> None:
        """There are two reasons to leave then; the reactor is stopped once."""
        self.patch(IOPump, "flush", lambda _: None)
        child = self.begin(BROKEN)
        self.assertFalse(self.reactor.stopped)
        child.drain(spread=0.0, hand_over=False)
        self.assertTrue(self.reactor.stopped)
        self.pump.pump()
        self.pump.pump()
        self.assertEqual(child.exit_status, ApplicationLoadError.exit_status)


class DrainTests(ChildCase):
    """How a child leaves."""

    def test_order(self) -> None:
        """It takes no more connections, runs its stop hooks, and leaves with 0."""
        child = self.begin(WORKER)
        self.far.drain(spread=0.0, hand_over=False)
        self.pump.flush()
        self.assertEqual(self.reactor.getReaders(), [])
        self.assertIn("stop", master_apps.SEEN)
        self.assertTrue(self.reactor.stopped)
        self.assertEqual(child.exit_status, 0)

    def test_signal(self) -> None:
        """TERM means the same, once; the master is told of it."""
        child = self.begin()
        self.assertTrue(child.adopts)
        for _ in range(2):
            self.handlers[signal.SIGTERM](signal.SIGTERM, None)
        self.pump.flush()
        self.assertTrue(self.reactor.stopped)
        self.assertEqual(self.master.terminated, 1)
        self.assertFalse(child.adopts)

    def test_slow_drain(self) -> None:
        """It has the graceful timeout, however often it is told to leave."""
        master_apps.pending(master_apps.STOP)
        child = self.begin(WORKER)
        child.drain(spread=0.0, hand_over=False)
        self.reactor.advance(3)
        child.drain(spread=0.0, hand_over=False)
        self.reactor.advance(1.9)
        self.assertFalse(self.reactor.stopped)
        self.reactor.advance(0.1)
        self.assertTrue(self.reactor.stopped)
        # The stop hook was cut short, which the log says.
        self.assertEqual(len(self.flushLoggedErrors(CancelledError)), 1)

    def test_shorter_drain(self) -> None:
        """The master says so if less than the graceful timeout is left."""
        master_apps.pending(master_apps.STOP)
        self.begin(WORKER)
        self.far.drain(spread=0.0, hand_over=False, within=2.0)
        self.pump.flush()
        self.reactor.advance(1.9)
        self.assertFalse(self.reactor.stopped)
        self.reactor.advance(0.1)
        self.assertTrue(self.reactor.stopped)
        self.flushLoggedErrors(CancelledError)

    def test_drain_during_the_boot(self) -> None:
        """The start hook is cancelled; that is no failure to be told."""
        master_apps.pending(master_apps.START)
        child = self.begin(WORKER)
        child.drain(spread=0.0, hand_over=False)
        self.pump.flush()
        self.assertTrue(self.reactor.stopped)
        self.assertEqual((self.master.failures, child.exit_status), ([], 0))

    def test_how(self) -> None:
        """`Drain` has the spread, and whether connections can be handed over."""
        for hand_over in (True, False):
            child = self.begin()
            site = cast("Any", child._served).site
            proxy = cast("Any", child._served).proxy
            spreads: list[float] = []
            self.patch(proxy, "drain", spreads.append)
            self.far.drain(spread=2.5, hand_over=hand_over)
            self.pump.flush()
            self.assertEqual((site.drain_policy.spread, spreads), (2.5, [2.5]))
            lent = child._end.hand_over if hand_over else None
            self.assertEqual(site.drain_policy._hand_over, lent)

    def test_drain_on_trial(self) -> None:
        """A canary that is activated after its drain accepts nothing."""
        child = self.begin(as_canary=True)
        child.drain(spread=0.0, hand_over=False)
        child.activate()
        self.pump.flush()
        self.assertEqual((self.master.readies, self.master.failures), (0, []))
        self.assertTrue(self.reactor.stopped)

    def test_master_is_gone(self) -> None:
        """The pipes are broken then: what is written goes nowhere."""
        moved: list[tuple[int, int]] = []
        self.begin(WORKER)
        self.patch(os, "open", lambda *_: 77)
        self.patch(os, "dup2", lambda *fds: moved.append(fds))
        self.far.close()
        self.pump.flush()
        self.assertEqual(moved, [(77, 1), (77, 2)])
        self.assertIn("stop", master_apps.SEEN)
        self.assertTrue(self.reactor.stopped)

    def test_master_is_there_to_the_end(self) -> None:
        """A reactor that stops closes the channel; the last words are still read."""
        moved: list[tuple[int, int]] = []
        child = self.begin()
        self.patch(os, "dup2", lambda *fds: moved.append(fds))
        child.drain(spread=0.0, hand_over=False)
        self.assertTrue(self.reactor.stopped)
        self.far.close()
        self.pump.flush()
        self.assertEqual(moved, [])


class CoreReadyTests(ChildCase):
    """What the master says of the core."""

    def test_proxy_is_told(self) -> None:
        child = self.begin()
        proxy = cast("Any", child._served).proxy
        told: list[tuple[bool, bool]] = []
        self.patch(
            proxy, "core_ready", lambda ready, *, back: told.append((ready, back))
        )
        self.far.core_ready(True, back=False)
        self.far.core_ready(False, back=True)
        self.pump.flush()
        self.assertEqual(told, [(True, False), (False, True)])

    def test_told_while_it_boots(self) -> None:
        """The word is kept for when there is a proxy."""
        waited = master_apps.pending(master_apps.START)
        child = self.begin(WORKER)
        self.far.core_ready(True, back=False)
        self.pump.flush()
        waited.callback(None)
        self.assertTrue(child._core_is_ready)
        self.assertIsNotNone(child._served)
