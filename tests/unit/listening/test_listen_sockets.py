"""Listening sockets, with real ones on loopback and in a folder of the test's own."""

import os
import socket
import stat
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from clusterapp.errors import ListenError
from clusterapp.listening.listen_sockets import (
    Listener,
    listen,
    passed_by_systemd,
    private_unix,
)
from clusterapp.settings.listen import (
    FdListen,
    SystemdListen,
    TcpListen,
    TlsFolderListen,
    TlsListen,
    UnixListen,
)
from tests.unit.fakes import Log, descriptors


class ListeningCase(SynchronousTestCase):
    """A folder that is short enough for sockets, and no descriptor left behind."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="clusterapp-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.before = descriptors()

    def listen(self, spec: object) -> Listener:
        listener = listen(spec, {})  # type: ignore[arg-type]
        self.addCleanup(listener.close)
        return listener

    def assert_refused(self, spec: object, *words: str) -> None:
        """It cannot be had: one line says so, and nothing is left open."""
        before = descriptors()
        error = self.assertRaises(ListenError, listen, spec, {})
        for word in words:
            self.assertIn(word, str(error))
        self.assertNotIn("\n", str(error))
        self.assertEqual(descriptors(), before)

    def assert_served(self, listener: Listener, client: socket.socket) -> None:
        """What the client connected to is the listener's socket."""
        with client:
            connection, _ = listener.socket.accept()
            connection.close()


class TcpTests(ListeningCase):
    """``tcp:`` and ``tls:``."""

    def test_ipv4(self) -> None:
        listener = self.listen(TcpListen(0, "127.0.0.1"))
        port = listener.socket.getsockname()[1]
        self.assertEqual(listener.address(), f"http://127.0.0.1:{port}")
        self.assert_served(listener, socket.create_connection(("127.0.0.1", port)))

    def test_ipv6(self) -> None:
        """It leaves the IPv4 port of the same number to others."""
        listener = self.listen(TcpListen(0, "::1"))
        port = listener.socket.getsockname()[1]
        self.assertEqual(listener.address(), f"http://[::1]:{port}")
        self.assert_served(listener, socket.create_connection(("::1", port)))
        # A client of any program may happen to have that number on IPv4.
        for attempt in range(20):
            both = self.listen(TcpListen(0, "::"))
            try:
                self.listen(TcpListen(both.socket.getsockname()[1], "0.0.0.0"))
            except ListenError:
                if attempt == 19:
                    raise
            else:
                break

    def test_tls_is_a_tcp_socket(self) -> None:
        """A TLS listener is a plain TCP socket; the accepting process adds TLS."""
        for spec in (
            TlsListen(port=0, certificate="c", key="k", interface="127.0.0.1"),
            TlsFolderListen(port=0, certificates="f", interface="127.0.0.1"),
        ):
            listener = self.listen(spec)
            address = listener.socket.getsockname()
            self.assert_served(listener, socket.create_connection(address))
            self.assertEqual(listener.name, "tcp:0:interface=127.0.0.1")
            self.assertEqual(listener.address(), f"https://127.0.0.1:{address[1]}")

    def test_socket_is_fit_to_be_shared(self) -> None:
        """It blocks nobody, and only those get it whom it is passed to."""
        listener = self.listen(TcpListen(0, "127.0.0.1"))
        self.assertFalse(listener.socket.getblocking())
        self.assertFalse(listener.socket.get_inheritable())

    def test_port_in_use(self) -> None:
        taken = self.listen(TcpListen(0, "127.0.0.1"))
        port = taken.socket.getsockname()[1]
        self.assert_refused(
            TcpListen(port, "127.0.0.1"),
            f"cannot listen on tcp:{port}:interface=127.0.0.1: Address already in use; "
            f"ss -ltnp 'sport = :{port}' shows by which program",
        )

    def test_port_is_free_at_once(self) -> None:
        """A restart need not wait for the connections of the last run (TIME_WAIT)."""
        listener = listen(TcpListen(0, "127.0.0.1"), {})
        address = listener.socket.getsockname()
        client = socket.create_connection(address)
        connection, _ = listener.socket.accept()
        connection.close()
        client.close()
        listener.close()
        self.listen(TcpListen(address[1], "127.0.0.1"))

    def test_interface_of_another_machine(self) -> None:
        self.assert_refused(TcpListen(0, "192.0.2.1"), "tcp:0:interface=192.0.2.1")

    def test_close(self) -> None:
        listener = listen(TcpListen(0, "127.0.0.1"), {})
        address = listener.socket.getsockname()
        listener.close()
        self.assertRaises(ConnectionRefusedError, socket.create_connection, address)
        self.assertEqual(descriptors(), self.before)


class UnixTests(ListeningCase):
    """``unix:``."""

    def setUp(self) -> None:
        super().setUp()
        self.path = self.folder / "a.sock"

    def connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(self.path))
        return client

    def mode(self) -> int:
        return stat.S_IMODE(self.path.stat().st_mode)

    def leave_behind(self) -> None:
        """Leave what a process leaves that was killed."""
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(self.path))
            dead.listen()

    def test_listen(self) -> None:
        listener = self.listen(UnixListen(str(self.path)))
        self.assertEqual(listener.address(), f"unix:{self.path}")
        self.assert_served(listener, self.connect())

    def test_mode(self) -> None:
        """It is just what was asked for, whatever the umask."""
        old = os.umask(0o077)
        self.addCleanup(os.umask, old)
        for mode in (0o666, 0o660, 0o600):
            listener = listen(UnixListen(str(self.path), mode), {})
            self.assertEqual(self.mode(), mode)
            listener.close()
        self.assertEqual(os.umask(0o077), 0o077)

    def test_private(self) -> None:
        listener = private_unix(str(self.path))
        self.addCleanup(listener.close)
        self.assertEqual(self.mode(), 0o600)
        self.assert_served(listener, self.connect())

    def test_private_never_replaces(self) -> None:
        """Nothing is to be at its path; the socket of a dead process neither."""
        self.leave_behind()
        error = self.assertRaises(ListenError, private_unix, str(self.path))
        self.assertIn(str(self.path), str(error))

    def test_dead_socket_is_replaced(self) -> None:
        self.leave_behind()
        listener = self.listen(UnixListen(str(self.path)))
        self.assert_served(listener, self.connect())

    def test_living_socket_is_left_alone(self) -> None:
        """Another server has it, and keeps it."""
        other = self.listen(UnixListen(str(self.path)))
        self.assert_refused(
            UnixListen(str(self.path)), f"unix:{self.path}", "already in use"
        )
        client, _ = other.socket.accept()
        client.close()
        self.assert_served(other, self.connect())

    def test_what_is_no_socket_is_left_alone(self) -> None:
        self.path.write_text("precious")
        self.assert_refused(UnixListen(str(self.path)), "it is not a socket")
        self.assertEqual(self.path.read_text(), "precious")

    def test_symlink_is_left_alone(self) -> None:
        """Nobody can have another's socket removed through it."""
        self.leave_behind()
        link = self.folder / "link"
        link.symlink_to(self.path)
        self.assert_refused(UnixListen(str(link)), "it is not a socket")
        self.assertTrue(self.path.exists())

    def test_no_such_folder(self) -> None:
        self.assert_refused(
            UnixListen(str(self.folder / "no" / "a.sock")), "No such file or directory"
        )

    def test_close_removes_the_path(self) -> None:
        self.listen(UnixListen(str(self.path))).close()
        self.assertFalse(self.path.exists())
        self.assertEqual(descriptors(), self.before)

    def test_close_leaves_the_path_of_another(self) -> None:
        """A new server may have taken it over while the old one was stopping."""
        old = self.listen(UnixListen(str(self.path)))
        self.path.rename(self.folder / "old.sock")
        new = self.listen(UnixListen(str(self.path)))
        old.close()
        self.assert_served(new, self.connect())

    def test_close_without_the_path(self) -> None:
        """Somebody has removed it."""
        listener = self.listen(UnixListen(str(self.path)))
        self.path.unlink()
        listener.close()
        self.assertEqual(descriptors(), self.before)

    def test_close_without_the_right_to_remove(self) -> None:
        """A master that gave up its rights says so, and stops all the same."""

        def refuse(*_: object, **__: object) -> None:
            raise PermissionError(1, "Operation not permitted")

        log = Log(self)
        listener = self.listen(UnixListen(str(self.path)))
        self.patch(Path, "unlink", refuse)
        listener.close()
        self.assertEqual(descriptors(), self.before)
        self.assertIn(f"cannot remove {self.path}", log.text())
        self.assertIn("not permitted", log.text())


class InheritedTests(ListeningCase):
    """``fd:``."""

    def given(self, made: socket.socket) -> FdListen:
        """Leave a socket open for the test, and return its number."""
        self.addCleanup(made.close)
        return FdListen(made.fileno())

    def test_listening_socket(self) -> None:
        given = socket.create_server(("127.0.0.1", 0))
        listener = self.listen(self.given(given))
        self.assertNotEqual(listener.socket.fileno(), given.fileno())
        self.assert_served(listener, socket.create_connection(given.getsockname()))

    def test_unix_socket_keeps_its_path(self) -> None:
        """An inherited Unix socket's path is left to the process that made it."""
        path = str(self.folder / "a.sock")
        given = socket.socket(socket.AF_UNIX)
        given.bind(path)
        given.listen()
        self.listen(self.given(given)).close()
        self.assertTrue(Path(path).exists())

    def test_is_not_passed_on_to_everybody(self) -> None:
        given = socket.create_server(("127.0.0.1", 0))
        given.set_inheritable(True)
        self.assertFalse(self.listen(self.given(given)).socket.get_inheritable())

    def test_file(self) -> None:
        file = (self.folder / "file").open("wb")
        self.addCleanup(file.close)
        number = file.fileno()
        self.assert_refused(FdListen(number), f"descriptor {number} is not a socket")

    def test_nothing(self) -> None:
        self.assert_refused(FdListen(999), "descriptor 999 is not a socket")

    def test_connection(self) -> None:
        one, other = socket.socketpair()
        self.addCleanup(other.close)
        self.assert_refused(self.given(one), "does not listen")

    def test_datagrams(self) -> None:
        self.assert_refused(
            self.given(socket.socket(type=socket.SOCK_DGRAM)), "does not listen"
        )


class SystemdTests(ListeningCase):
    """``systemd:``."""

    def environ(self, **more: str) -> dict[str, str]:
        return {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2", **more}

    def test_position_and_name(self) -> None:
        """Descriptors begin at 3."""
        environ = self.environ(LISTEN_FDNAMES="web:admin")
        self.assertEqual(passed_by_systemd(environ), {0: 3, 1: 4, "web": 3, "admin": 4})

    def test_no_names(self) -> None:
        """systemd-socket-activate(1) gives none."""
        self.assertEqual(passed_by_systemd(self.environ()), {0: 3, 1: 4})

    def test_looking_changes_nothing(self) -> None:
        """A second start of the same master finds them again."""
        environ = self.environ(LISTEN_FDNAMES="web:admin")
        before = dict(environ)
        passed_by_systemd(environ)
        self.assertEqual(environ, before)

    def test_meant_for_another_process(self) -> None:
        self.assertEqual(passed_by_systemd(self.environ(LISTEN_PID="1")), {})
        self.assertEqual(passed_by_systemd({}), {})

    def test_nonsense(self) -> None:
        self.assertEqual(passed_by_systemd(self.environ(LISTEN_FDS="some")), {})

    def test_listen(self) -> None:
        given = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(given.close)
        passed: dict[str | int, int] = {0: given.fileno(), "web": given.fileno()}
        for name in (0, "web"):
            listener = listen(SystemdListen(name), passed)
            self.assert_served(listener, socket.create_connection(given.getsockname()))
            listener.close()

    def test_not_passed(self) -> None:
        """The line says what was."""
        error = self.assertRaises(
            ListenError, listen, SystemdListen("wbe"), {0: 3, "web": 3}
        )
        self.assertEqual(
            str(error),
            "cannot listen on systemd:wbe: systemd passed no such socket"
            " (passed: 0, web)",
        )
        self.assert_refused(SystemdListen(0), "(passed: none)")
