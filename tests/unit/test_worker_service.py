"""The body of a child process, without the process."""

import asyncio
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import CancelledError
from twisted.internet.error import ReactorNotRunning
from twisted.internet.testing import MemoryReactorClock
from twisted.test.iosim import FakeTransport, IOPump
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.channel.bootstrap import CONTROL_FD, PRIVATE, Bootstrap
from clusterapp.channel.ends import MasterEnd
from clusterapp.errors import ApplicationLoadError
from clusterapp.http.access import Answered
from clusterapp.interfaces import Role
from clusterapp.settings.model import Settings
from clusterapp.web.hosting import CORE_SOCKET
from clusterapp.web.loading import Loaded, load
from clusterapp.web.static import StaticOptions
from clusterapp.worker import __main__ as program
from clusterapp.worker import service
from clusterapp.worker.service import FAILED_BOOT, ChildProgram
from clusterapp.worker.serving import serve
from tests.unit import master_apps
from tests.unit.fakes import FakeReactor, Log, Master
from tests.unit.inherited import LISTENER, inherited

PLAIN = "tests.unit.master_apps:plain"
WORKER = "tests.unit.master_apps:worker_hooks"
BROKEN = "tests.unit.no_shop:app"

ANSWERED = Answered("::1", b"GET", b"/old", b"HTTP/1.1", [], 200, 5, 0.001)

os_close = os.close


class ChildReactor(FakeReactor):
    """A child's reactor, which its program stops."""

    def __init__(self) -> None:
        super().__init__()
        self.stopped = False

    def stop(self) -> None:
        if self.stopped:
            raise ReactorNotRunning
        self.stopped = True

    def callFromThread(self, call: Callable[[], object]) -> None:
        call()


class ChildCase(SynchronousTestCase):
    """A child whose control channel ends in a master in memory."""

    def setUp(self) -> None:
        master_apps.forget()
        self.reactor = ChildReactor()
        self.master = Master()
        self.handlers: dict[int, Any] = {}
        self.closed: list[int] = []
        self.access_log: str | None = None
        self.patch(signal, "signal", self.handlers.__setitem__)
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.listening.close)

    def begin(
        self,
        app: str = PLAIN,
        role: Role = "worker",
        cache: str | None = None,
        *,
        on_trial: bool = False,
        **settings: Any,
    ) -> ChildProgram:
        """Start a child, up to where it waits for something."""
        given: Mapping[str, Any] = {
            "sockets": {CORE_SOCKET: self.listening.dup().detach()}
        }
        if role == "worker":
            given = inherited(self.listening, self.addCleanup)
        bootstrap = Bootstrap(
            role=role,
            slot=3,
            generation=1,
            settings={},
            core_socket="/nowhere/core.sock",
            cache=cache,
            access_log=self.access_log,
            on_trial=on_trial,
            **given,
        )
        chosen = Settings(app=app, graceful_timeout=5, **settings)
        self.child = ChildProgram(self.reactor, bootstrap, chosen)
        self.patch(service, "serve", self.serve)
        self.patch(os, "close", self.close)
        self.patch(self.reactor, "adoptStreamConnection", self.adopt)
        self.child.start()
        self.pump.flush()
        return self.child

    def serve(self, *arguments: Any) -> Any:
        """Close in the end what the child's process would take with it."""
        host, served = serve(*arguments)
        self.addCleanup(host.refuse)
        return host, served

    def close(self, descriptor: int) -> None:
        """Note what the child closes: these are numbers of the test's process."""
        self.closed.append(descriptor)

    def adopt(self, fd: int, family: int, factory: Any) -> None:
        """Connect the child's end to the master's."""
        self.assertEqual((fd, family), (CONTROL_FD, socket.AF_UNIX))
        near, far = factory.buildProtocol(None), MasterEnd(self.master)
        transports = FakeTransport(near, False), FakeTransport(far, True)
        near.makeConnection(transports[0])
        far.makeConnection(transports[1])
        self.far = far
        self.pump = IOPump(near, far, *transports, False)


class BootTests(ChildCase):
    """From its first word to its last before it serves."""

    def test_ready(self) -> None:
        """It says so when it has loaded its application, and accepts."""
        acceptors = cast("Any", self.begin()._served).doors._acceptors
        self.assertEqual(acceptors.keys(), {LISTENER, PRIVATE})
        self.assertEqual(self.master.readies, 1)
        # It is the loop that watches the socket, and tells that it did.
        loop = asyncio.get_event_loop()
        for acceptor in acceptors.values():
            self.assertTrue(loop.remove_reader(acceptor.fileno()))
        self.assertEqual(self.closed[0], CONTROL_FD)
        self.assertFalse(self.reactor.stopped)

    def test_options_of_static_files(self) -> None:
        """What the operator chooses reaches what serves them."""
        given: list[object] = []

        def noting(*arguments: Any) -> Loaded:
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
        waited.callback(None)
        self.pump.flush()
        self.assertEqual(self.master.readies, 1)

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
        self.begin("tests.unit.master_apps:pages", role=role, cache=str(cache))
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
        self.assertEqual(reason, "ValueError: no database")
        self.assertIn("Traceback", traceback)
        self.assertEqual(child.exit_status, FAILED_BOOT)
        self.assertTrue(self.reactor.stopped)

    def test_failure_whose_words_nobody_can_send(self) -> None:
        """It leaves all the same."""
        master_apps.START.append(ValueError("no \udcff"))
        self.begin(WORKER)
        [(_, reason, _)] = self.master.failures
        self.assertEqual(reason, "ValueError: no \\udcff")
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
        """TERM means the same."""
        self.begin()
        self.handlers[signal.SIGTERM](signal.SIGTERM, None)
        self.assertTrue(self.reactor.stopped)

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

    def test_drain_during_the_boot(self) -> None:
        """The start hook is cancelled; that is no failure to be told."""
        master_apps.pending(master_apps.START)
        child = self.begin(WORKER)
        child.drain(spread=0.0, hand_over=False)
        self.pump.flush()
        self.assertTrue(self.reactor.stopped)
        self.assertEqual((self.master.failures, child.exit_status), ([], 0))

    def test_how(self) -> None:
        """The master says in which time, and whether there is who takes over."""
        for hand_over in (True, False):
            child = self.begin()
            site = cast("Any", child._served).site
            proxy = cast("Any", child._served).proxy
            spreads: list[float] = []
            self.patch(proxy, "drain", spreads.append)
            self.far.drain(spread=2.5, hand_over=hand_over)
            self.pump.flush()
            self.assertEqual((site.departure.spread, spreads), (2.5, [2.5]))
            lent = child._end.hand_over if hand_over else None
            self.assertEqual(site.departure._hand_over, lent)

    def test_drain_on_trial(self) -> None:
        """Whoever lets it go on after that comes too late: it accepts nothing."""
        child = self.begin(on_trial=True)
        child.drain(spread=0.0, hand_over=False)
        child.proceed()
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


class AccessLogTests(ChildCase):
    """A worker that notes what it answers."""

    def setUp(self) -> None:
        super().setUp()
        folder = tempfile.TemporaryDirectory(prefix="clusterapp-")
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "access.log"
        self.access_log = str(self.path)

    def close(self, descriptor: int) -> None:
        """Close the log's files, which are there."""
        super().close(descriptor)
        if descriptor != CONTROL_FD:
            os_close(descriptor)

    def finish(self) -> None:
        """Do what the reactor does when it has stopped."""
        for call, arguments, words in self.reactor.triggers["after"]["shutdown"]:
            call(*arguments, **words)

    def test_rotation(self) -> None:
        """What is noted before goes to the old file, what comes later to the new."""
        recorder = cast("Any", self.begin()._host)._site.recorder
        recorder.record(ANSWERED)
        old = self.path.rename(self.path.with_suffix(".1"))
        self.far.reopen_logs()
        self.pump.flush()
        recorder.record(ANSWERED._replace(target=b"/new"))
        self.finish()
        self.assertIn("GET /old HTTP/1.1", old.read_text())
        self.assertIn("GET /new HTTP/1.1", self.path.read_text())
        self.assertEqual(len((old.read_text() + self.path.read_text()).split("\n")), 3)

    def test_rotation_while_it_boots(self) -> None:
        """The file may be open long before there is anything to note."""
        waited = master_apps.pending(master_apps.START)
        child = self.begin(WORKER)
        self.path.unlink()
        self.far.reopen_logs()
        self.pump.flush()
        self.assertTrue(self.path.exists())
        waited.callback(None)
        self.assertIsNotNone(child._served)
        self.finish()

    def test_file_that_cannot_be_opened(self) -> None:
        """The worker does not start without it; the master is told why."""
        self.path.mkdir()
        child = self.begin()
        [(loading, reason, _)] = self.master.failures
        self.assertIs(loading, False)
        self.assertIn("IsADirectoryError", reason)
        self.assertEqual(child.exit_status, FAILED_BOOT)


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


class ServeTests(SynchronousTestCase):
    """What a child serves."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.settings = Settings(app=PLAIN)

    def serve(self, role: Any) -> tuple[Any, Any]:
        listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listening.close)
        given: Mapping[str, Any] = {"sockets": {CORE_SOCKET: listening.dup().detach()}}
        if role == "worker":
            given = inherited(listening, self.addCleanup)
        bootstrap = Bootstrap(
            role=role,
            slot=3,
            generation=2,
            settings={},
            core_socket="/nowhere/core.sock",
            **given,
        )
        loaded = load(PLAIN, None, cast("Any", self.reactor))
        host, served = serve(self.reactor, bootstrap, self.settings, loaded)
        self.addCleanup(host.refuse)
        self.cluster = loaded.members[0].cluster
        return host, served

    def test_worker(self) -> None:
        """It knows its place, and sends to the core what is the core's."""
        host, served = self.serve("worker")
        self.assertEqual((self.cluster.role, self.cluster.slot), ("worker", 3))
        self.assertEqual(self.cluster.generation, 2)
        site = host._site
        for target, taken in (
            (b"/counter", True),
            (b"/counter?a=/b", True),
            (b"/", False),
            (b"/?/counter", False),
        ):
            forward = served.proxy.forward if taken else None
            self.assertEqual(site._forward(target), forward)

    def test_core(self) -> None:
        """It forwards nothing, to itself least of all."""
        host, served = self.serve("core")
        self.assertEqual(self.cluster.role, "core")
        self.assertIsNone(served)
        self.assertIsNone(host._site._forward)

    def test_errors_in_the_page(self) -> None:
        """Only those who develop are shown any, of workers and core alike."""
        for reload in (False, True):
            self.settings = Settings(app=PLAIN, reload=reload)
            for role in ("worker", "core"):
                host, _ = self.serve(role)
                self.assertIs(host._site.failure_page is not None, reload)

    def test_sockets_are_not_passed_on(self) -> None:
        """Processes that the application starts do not keep them open."""
        _, served = self.serve("worker")
        for acceptor in served.doors._acceptors.values():
            self.assertFalse(os.get_inheritable(acceptor.fileno()))
        self.assertFalse(os.get_inheritable(served.doors._receiver.fileno()))


class ProgramTests(SynchronousTestCase):
    """What happens before there is a reactor."""

    def take_over(self, python_path: str | None) -> None:
        self.patch(os, "environ", {"PYTHONPATH": "/master"})
        self.patch(sys, "path", ["/child"])
        bootstrap = Bootstrap(
            role="worker",
            slot=0,
            generation=1,
            settings={},
            path=("/a", "/b"),
            python_path=python_path,
        )
        program._take_over(bootstrap)

    def test_same_modules_as_the_master(self) -> None:
        self.take_over("/operator")
        path, environment = list(sys.path), dict(os.environ)
        self.assertEqual(path, ["/a", "/b"])
        self.assertEqual(environment, {"PYTHONPATH": "/operator"})

    def test_environment_as_it_was_set(self) -> None:
        """Programs that the application starts see nothing of ours."""
        self.take_over(None)
        self.assertEqual(dict(os.environ), {})
