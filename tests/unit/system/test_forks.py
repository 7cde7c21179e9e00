"""What a fork of the process has, and has no more."""

import faulthandler
import json
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from clusterapp.system.descriptors import Descriptor, own
from clusterapp.system.forks import clean_up_forks, suspended

DEADLINE = 30


def in_fork(ask: Callable[[], Any]) -> Any:
    """Return what a function returns in a fork of this process, by way of JSON."""
    reads, writes = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            signal.alarm(DEADLINE)
            os.write(writes, json.dumps(ask()).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writes)
    with open(reads, "rb") as told:  # noqa: PTH123 - it is a descriptor
        answer = told.read()
    os.waitpid(pid, 0)
    return json.loads(answer)


def leads_to(number: int) -> str:
    """Return what a descriptor is."""
    return str(Path(f"/proc/self/fd/{number}").readlink())


class ForkTests(SynchronousTestCase):
    """What is ours is taken from forks, and nothing else."""

    def setUp(self) -> None:
        clean_up_forks()
        folder = tempfile.TemporaryDirectory(prefix="clusterapp-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def closing(self, made: socket.socket) -> socket.socket:
        self.addCleanup(made.close)
        return made

    def listening(self, address: Any, family: int = socket.AF_INET) -> socket.socket:
        made = self.closing(socket.socket(family))
        made.bind(address)
        made.listen()
        own(made)
        return made

    def connected(
        self, listening: socket.socket
    ) -> tuple[socket.socket, socket.socket]:
        """Return both ends of a connection: the client's and the accepted one."""
        client = self.closing(socket.socket(listening.family))
        client.connect(listening.getsockname())
        return client, self.closing(listening.accept()[0])

    def assert_taken(self, *made: socket.socket) -> None:
        numbers = [each.fileno() for each in made]
        found = in_fork(lambda: [leads_to(number) for number in numbers])
        self.assertEqual(found, [os.devnull] * len(numbers))

    def assert_left(self, *made: socket.socket) -> None:
        numbers = [each.fileno() for each in made]
        before = [leads_to(number) for number in numbers]
        self.assertEqual(in_fork(lambda: [leads_to(n) for n in numbers]), before)

    def test_listening_socket_and_its_connections(self) -> None:
        """A client has another port, so its end is an application's own."""
        for address, family in (
            (("127.0.0.1", 0), socket.AF_INET),
            (("::1", 0), socket.AF_INET6),
        ):
            listening = self.listening(address, family)
            client, accepted = self.connected(listening)
            self.assert_taken(listening, accepted)
            self.assert_left(client)

    def test_unix_sockets_of_the_cluster(self) -> None:
        """Both ends: nothing but the cluster connects to what is in its folder."""
        listening = self.listening(str(self.folder / "core.sock"), socket.AF_UNIX)
        client, accepted = self.connected(listening)
        beside = self.closing(socket.socket(socket.AF_UNIX))
        beside.bind(str(self.folder / "worker-1.sock"))
        beside.listen()
        relayed, _ = self.connected(beside)
        self.assert_taken(listening, client, accepted, relayed)

    def test_unix_sockets_beside_those_of_the_cluster(self) -> None:
        """Those of others may be in the folder of a listener."""
        self.listening(str(self.folder / "shop.sock"), socket.AF_UNIX)
        beside = self.closing(socket.socket(socket.AF_UNIX))
        beside.bind(str(self.folder / "database.sock"))
        beside.listen()
        self.assert_left(*self.connected(beside))

    def test_sockets_of_the_application(self) -> None:
        self.listening(("127.0.0.1", 0))
        made = self.closing(socket.socket())
        made.bind(("127.0.0.1", 0))
        made.listen()
        self.assert_left(made, *self.connected(made))
        self.assert_left(*(self.closing(each) for each in socket.socketpair()))

    def test_default_timeout(self) -> None:
        """Looking at an application's socket does not make it a non-blocking one."""
        self.listening(("127.0.0.1", 0))
        one, other = socket.socketpair()
        self.closing(one), self.closing(other)
        socket.setdefaulttimeout(5)
        self.addCleanup(socket.setdefaulttimeout, None)
        self.assertTrue(in_fork(lambda: os.get_blocking(one.fileno())))
        self.assertEqual(in_fork(socket.getdefaulttimeout), 5)

    def test_descriptor(self) -> None:
        """Its number stays taken: what thinks it has it may close it later."""
        reads, writes = os.pipe()
        for each in (reads, writes):
            self.addCleanup(os.close, each)
        noted = Descriptor(writes)
        own(noted)
        self.assertEqual(in_fork(lambda: leads_to(noted.fileno())), os.devnull)
        self.assertTrue(in_fork(lambda: leads_to(reads).startswith("pipe:")))

    def test_closed_socket(self) -> None:
        """Its number may be another's by now."""
        gone = socket.socket()
        own(gone)
        number = gone.fileno()
        gone.close()
        reused = self.closing(socket.socket())
        self.assertEqual(reused.fileno(), number)
        self.assert_left(reused)

    def test_before_exec(self) -> None:
        """Twisted passes descriptors on to what it forks and executes."""
        listening = self.listening(("127.0.0.1", 0))
        with suspended():
            self.assert_left(listening)

    def test_before_exec_in_another_thread(self) -> None:
        """It is that thread's forks which execute something."""
        listening = self.listening(("127.0.0.1", 0))
        is_suspended, may_end = threading.Event(), threading.Event()

        def suspend() -> None:
            with suspended():
                is_suspended.set()
                may_end.wait(DEADLINE)

        thread = threading.Thread(target=suspend)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(may_end.set)
        self.assertTrue(is_suspended.wait(DEADLINE))
        self.assert_taken(listening)

    def test_signal_handlers(self) -> None:
        """Ours become those that Python begins with; others are the application's."""

        def ours(*_: object) -> None: ...

        def theirs(*_: object) -> None: ...

        ours.__module__ = "clusterapp.worker.child_program"
        for number, handler in (
            (signal.SIGTERM, ours),
            (signal.SIGINT, ours),
            (signal.SIGHUP, theirs),
        ):
            before = signal.signal(number, handler)
            self.addCleanup(signal.signal, number, before)
        faulthandler.register(signal.SIGUSR2, chain=False)
        self.addCleanup(faulthandler.unregister, signal.SIGUSR2)
        # It returns whether there was anything to unregister.
        unregister: Callable[[int], object] = faulthandler.unregister
        is_so = in_fork(
            lambda: [
                signal.getsignal(signal.SIGTERM) == signal.SIG_DFL,
                signal.getsignal(signal.SIGINT) is signal.default_int_handler,
                signal.getsignal(signal.SIGHUP) is theirs,
                signal.set_wakeup_fd(-1) == -1,
                not unregister(signal.SIGUSR2),
            ]
        )
        self.assertEqual(is_so, [True] * 5)
        self.assertIs(signal.getsignal(signal.SIGTERM), ours)
