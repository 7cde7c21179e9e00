"""The control socket, with real Unix sockets and the reactor that runs the tests."""

import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import skipUnless

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import LogLevel
from twisted.trial.unittest import SynchronousTestCase, TestCase

from clusterapp.control import control_socket as service
from clusterapp.control.control_client import Client
from clusterapp.control.control_socket import ControlService, CredentialCheck
from clusterapp.control.peer_credentials import peer_of
from clusterapp.control.socket_path import take
from clusterapp.errors import ControlError, ListenError, UnreachableError
from clusterapp.http.application.current_request import request_under_way
from clusterapp.listening.listen_sockets import Listener
from clusterapp.operations import OperationResult, Step
from tests.unit.control.operating import FakeOperations, status
from tests.unit.fakes import Log, descriptors

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

REACTOR: Any = reactor
DONE = OperationResult(ok=True, text="stopped")

#: Connects to a socket and prints what comes until its end.
CLIENT = """
import os, socket, sys
os.seteuid(int(sys.argv[2]))
with socket.socket(socket.AF_UNIX) as client:
    client.connect(sys.argv[1])
    try:
        client.sendall(b"GET /livez HTTP/1.0\\r\\n\\r\\n")
        print(client.recv(100))
    except ConnectionError:
        print(b"")
"""


def folder_for(test: SynchronousTestCase | TestCase) -> Path:
    """Make a folder that is short enough for sockets."""
    folder = tempfile.TemporaryDirectory(prefix="clusterapp-")
    test.addCleanup(folder.cleanup)
    return Path(folder.name)


class PlaceTests(SynchronousTestCase):
    """Taking the path."""

    def setUp(self) -> None:
        self.folder = folder_for(self)
        self.path = str(self.folder / "control.sock")
        self.before = descriptors()

    def take(self, path: str = "", *, replace: bool = False) -> Listener:
        listener = take(path or self.path, replace=replace)
        self.addCleanup(listener.close)
        return listener

    def assert_refused(self, path: str, *words: str, replace: bool = False) -> None:
        """One line says so, and nothing is left: no descriptor, and no file."""
        before = descriptors(), sorted(self.folder.iterdir())
        error = self.assertRaises(ListenError, take, path, replace=replace)
        for word in (path, *words):
            self.assertIn(word, str(error))
        self.assertNotIn("\n", str(error))
        self.assertEqual((descriptors(), sorted(self.folder.iterdir())), before)

    def assert_reaches(self, listener: Listener) -> None:
        """Assert that connections to the path reach this listener."""
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(self.path)
            listener.socket.accept()[0].close()

    def test_private(self) -> None:
        """Only its user may connect, whatever the umask."""
        self.addCleanup(os.umask, os.umask(0))
        for replace in (False, True):
            listener = self.take(replace=replace)
            mode = Path(self.path).stat().st_mode
            self.assertEqual(stat.S_IMODE(mode), 0o600)
            self.assert_reaches(listener)
            listener.close()
            self.assertEqual(list(self.folder.iterdir()), [])
        self.assertEqual(descriptors(), self.before)

    def test_left_behind(self) -> None:
        """A master that was killed removes nothing."""
        with socket.socket(socket.AF_UNIX) as killed:
            killed.bind(self.path)
            killed.listen()
        self.assert_reaches(self.take())

    def test_in_use(self) -> None:
        """The first one keeps it."""
        first = self.take()
        self.assert_refused(self.path, "a running master listens there")
        self.assert_reaches(first)

    def test_replaced(self) -> None:
        """Clients come to the new one; the old one leaves the path to it."""
        old = self.take()
        new = self.take(replace=True)
        self.assertEqual(list(self.folder.iterdir()), [Path(self.path)])
        self.assert_reaches(new)
        old.close()
        self.assert_reaches(new)
        new.close()
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_replaced_again_and_again(self) -> None:
        """There is no moment without one of them."""
        listeners = [self.take()]
        for _ in range(5):
            listeners.append(self.take(replace=True))
            self.assert_reaches(listeners[-1])
            listeners[-2].close()
            self.assert_reaches(listeners[-1])

    def test_replacing_after_a_killed_one(self) -> None:
        """It may have been killed between binding and renaming."""
        with socket.socket(socket.AF_UNIX) as killed:
            killed.bind(str(self.folder / f".{os.getpid()}"))
            killed.listen()
        self.assert_reaches(self.take(replace=True))

    def test_long_path(self) -> None:
        """The kernel's limit is one of bytes: unix(7)."""
        room = 107 - len(os.fsencode(self.folder)) - 1
        self.take(str(self.folder / ("x" * room)))
        for replace in (False, True):
            self.assert_refused(
                str(self.folder / ("ä" + "x" * (room - 1))),
                "more than 107 bytes",
                replace=replace,
            )

    def test_no_folder(self) -> None:
        for replace in (False, True):
            self.assert_refused("/nowhere/at/all", "No such file", replace=replace)

    def test_something_else_is_there(self) -> None:
        """What is no socket is left alone."""
        Path(self.path).write_text("precious")
        for replace in (False, True):
            self.assert_refused(self.path, "not a socket", replace=replace)
        self.assertEqual(Path(self.path).read_text(), "precious")


class DoorTests(SynchronousTestCase):
    """Which peers the control socket accepts."""

    def setUp(self) -> None:
        self.near, self.far = socket.socketpair()
        self.addCleanup(self.near.close)
        self.addCleanup(self.far.close)
        self.served: list[object] = []

    def serve(self, connection: socket.socket, address: object) -> None:
        self.served.append((connection, address))

    def test_peer(self) -> None:
        """The peer's pid, uid and gid come from the kernel."""
        self.assertEqual(peer_of(self.near), (os.getpid(), os.geteuid(), os.getegid()))

    def test_own_user(self) -> None:
        CredentialCheck(self.serve)(self.near, "address")
        self.assertEqual(self.served, [(self.near, "address")])

    def test_others(self) -> None:
        """They are told nothing; the log names them."""
        own = os.getpid(), os.geteuid()
        log = Log(self)
        CredentialCheck(self.serve, lambda: frozenset({os.geteuid() + 1}))(
            self.near, ""
        )
        self.assertEqual(self.served, [])
        self.assertEqual(self.far.recv(1), b"")
        self.assertEqual(
            log.lines(LogLevel.warn),
            [f"the control socket refuses process {own[0]} of user {own[1]}"],
        )


class ServiceTests(TestCase):
    """The whole of it, served to the client that `clusterctl` uses."""

    def setUp(self) -> None:
        self.folder = folder_for(self)
        self.path = str(self.folder / "control.sock")
        self.operations = FakeOperations()
        self.steps: list[Mapping[str, Any]] = []

    def service(self, *, replace: bool = False) -> ControlService:
        made = ControlService(REACTOR, self.operations, self.path, replace=replace)
        made.startService()
        self.addCleanup(made.stopService)
        return made

    async def status(self) -> Mapping[str, Any]:
        return await deferToThread(Client(self.path).get, "/status")

    def follow(self, target: str) -> "Deferred[Mapping[str, Any]]":
        return deferToThread(Client(self.path).follow, target, self.steps.append)

    async def begun(self, number: int = 1) -> None:
        """Wait until so many operations have begun."""
        while len(self.operations.did) < number:
            await deferLater(REACTOR, 0.005)

    async def test_status(self) -> None:
        self.service()
        self.assertEqual(await self.status(), status())

    async def test_operation(self) -> None:
        self.service()
        verdict = self.follow("/reload")
        await self.begun()
        self.operations.tell(Step("starting", 0))
        self.operations.verdict.callback(DONE)
        self.assertTrue((await verdict)["verdict"]["ok"])
        self.assertEqual(self.steps, [{"step": "starting", "slot": 0}])

    async def test_stop_takes_the_path_away(self) -> None:
        before = descriptors()
        serving = self.service()
        await self.status()
        await deferToThread(lambda: None)
        stopped = serving.stopService()
        assert stopped is not None
        await stopped
        self.assertEqual(list(self.folder.iterdir()), [])
        self.assertIsNone(serving.stopService())
        self.assertEqual(
            {fd for fd in descriptors() - before if "socket" in fd[1]}, set()
        )

    async def test_stop_lets_a_verdict_through(self) -> None:
        """The verdict of a stop comes while the socket is being closed."""
        serving = self.service()
        verdict = self.follow("/stop")
        await self.begun()
        stopped = serving.stopService()
        assert stopped is not None
        self.assertFalse(stopped.called)
        with self.assertRaises(UnreachableError):
            await self.status()
        self.operations.verdict.callback(DONE)
        self.assertEqual((await verdict)["verdict"]["text"], "stopped")
        await stopped

    async def test_stop_waits_for_nobody_forever(self) -> None:
        """An operation without an end is broken off."""
        self.patch(service, "CONTROL", 0.01)
        stopping = self.service()
        verdict = self.follow("/reload")
        await self.begun()
        await stopping.stopService()  # type: ignore[misc]
        with self.assertRaisesRegex(ControlError, "before it gave a verdict"):
            await verdict
        self.operations.verdict.callback(DONE)

    async def test_start_again(self) -> None:
        serving = self.service()
        for _ in range(2):
            await serving.stopService()  # type: ignore[misc]
            serving.startService()
            self.assertEqual(await self.status(), status())

    async def test_start_that_fails(self) -> None:
        """It is not running then, and stopping it is nothing."""
        first = self.service()
        second = ControlService(REACTOR, self.operations, self.path)
        self.assertRaises(ListenError, second.startService)
        self.assertFalse(second.running)
        self.assertIsNone(second.stopService())
        self.assertTrue(first.running)
        self.assertEqual(await self.status(), status())

    async def test_log_events(self) -> None:
        """What an operation logs does not look as if an application's request had."""
        found: list[object] = []

        def get_status() -> Mapping[str, Any]:
            found.append(request_under_way())
            return status()

        self.patch(self.operations, "status", get_status)
        self.service()
        await self.status()
        self.assertEqual(found, [None])

    async def test_upgrade(self) -> None:
        """The new one takes over; what the old one has begun ends there."""
        old = self.service()
        verdict = self.follow("/upgrade")
        await self.begun()
        end = self.operations.verdict
        self.operations = FakeOperations()
        self.operations.document = status(1, generation=3)
        self.service(replace=True)
        self.assertEqual(await self.status(), status(1, generation=3))
        stopped = old.stopService()
        end.callback(DONE)
        self.assertTrue((await verdict)["verdict"]["ok"])
        await stopped  # type: ignore[misc]
        self.assertEqual(await self.status(), status(1, generation=3))

    def open_to_all(self) -> None:
        self.folder.chmod(0o755)
        Path(self.path).chmod(0o666)

    @skipUnless(os.geteuid() == 0, "only root can become another user")
    async def test_other_user(self) -> None:
        """Even if somebody has opened the socket to all."""
        log = Log(self)
        self.service()
        self.open_to_all()
        for user, answer in ((65_534, "b''"), (0, "b'HTTP/1.1 200 OK")):
            http_client = [sys.executable, "-c", CLIENT, self.path, str(user)]
            shown = await deferToThread(
                subprocess.check_output, http_client, text=True, timeout=30
            )
            self.assertTrue(shown.startswith(answer), shown)
        [line] = log.lines(LogLevel.warn)
        self.assertIn("of user 65534", line)
