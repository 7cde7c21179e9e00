"""Masters, workers and cores as real processes: start, death, replacement, stop."""

import os
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import ClassVar

from twisted.trial.unittest import SynchronousTestCase

from clusterapp.settings.model import Settings
from clusterapp.settings.stop_time import longest_stop
from tests.integration.running import (
    APPS,
    DEADLINE,
    SCRIPTS,
    Running,
    RunningCluster,
    cluster,
    eventually,
    is_alive,
    wait_until_gone,
)

TWISTD = f"{SCRIPTS}/twistd -n --pidfile= clusterapp --app shop:app --workers 1"


def shop(*flags: str, workers: int = 1) -> AbstractContextManager[RunningCluster]:
    """Run the tests' application."""
    return cluster(
        *("--app", "shop:app", *flags), workers=workers, env={"PYTHONPATH": str(APPS)}
    )


@contextmanager
def open_request(running: RunningCluster, target: str) -> Iterator[socket.socket]:
    """Send a request on a kept-alive connection, and do not wait for the answer."""
    with running.connect() as connection:
        connection.sendall(
            b"GET %s HTTP/1.1\r\nHost: test\r\n\r\n" % target.encode("ascii")
        )
        yield connection


def read_all(connection: socket.socket) -> bytes:
    """Read until the other side closes."""
    pieces = []
    while piece := connection.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


class RequestTests(SynchronousTestCase):
    """
    Requests to a cluster that none of these tests changes.

    :cvar running: the cluster.
    """

    running: ClassVar[RunningCluster]

    @classmethod
    def setUpClass(cls) -> None:
        """Run it while there are tests."""
        super().setUpClass()
        cls.running = cls.enterClassContext(shop(workers=3))

    def count(self) -> int:
        """Return what the core has counted, with this order."""
        count, pid = self.running.request("POST", "/orders")[2].split()
        self.assertEqual(int(pid), self.running.pid)
        return int(count)

    def test_every_worker_serves(self) -> None:
        """Requests on connections of their own reach more than one worker."""
        seen: set[bytes] = set()

        def all_seen() -> bool:
            seen.add(self.running.get("/pid"))
            return len(seen) == 3

        eventually(all_seen)
        self.assertEqual({int(pid) for pid in seen}, self.running.children())

    def test_the_core_counts_for_all_workers(self) -> None:
        """Requests through any worker reach the one core, in the master."""
        first = self.count()
        self.assertEqual(
            [self.count() for _ in range(7)], [*range(first + 1, first + 8)]
        )

    def test_a_wrong_method_is_the_cores_to_refuse(self) -> None:
        """A core's path belongs to the core whatever the method."""
        status, headers, _ = self.running.request("GET", "/orders")
        self.assertEqual((status, headers["Allow"]), (405, "POST"))

    def test_a_worker_has_a_client_for_the_core(self) -> None:
        """`app.cluster.core` reaches the core."""
        before = self.count()
        told = b"the core says %d %d" % (before + 1, self.running.pid)
        self.assertEqual(self.running.get("/through"), told)


class StartTests(SynchronousTestCase):
    """What a cluster that has just started does."""

    def test_the_cores_socket_is_private(self) -> None:
        """Only the master's user may connect to the core."""
        with tempfile.TemporaryDirectory() as state, shop("--state", state) as running:
            (path,) = Path(state).glob("*/core.sock")
            self.assertEqual(path.stat().st_mode & 0o777, 0o600)
            running.signal(signal.SIGTERM)
            self.assertEqual(running.wait(), 0)
            self.assertEqual(list(Path(state).iterdir()), [])

    def test_workers_print_into_the_masters_log(self) -> None:
        """Each line of a worker is one line of the log, with slot and generation."""
        with shop() as running:
            running.signal(signal.SIGTERM)
            running.wait()
        for line in ("worker starts", "first line", "second line", "worker 0 stops"):
            self.assertRegex(running.text(), rf"\[worker 0 generation 1\] {line}\n")

    def test_it_listens_on_every_kind_of_socket(self) -> None:
        """Unix sockets, inherited ones, and those that systemd passes."""
        with (
            socket.create_server(("127.0.0.1", 0)) as inherited,
            socket.create_server(("::1", 0), family=socket.AF_INET6) as passed,
        ):
            listen = "--listen unix:public.sock --listen fd:9 --listen systemd:web"
            # As systemd does it (sd_listen_fds(3)): from 3 on, and for this pid.
            command = (
                "export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web;"
                f" exec {TWISTD} {listen} --state state"
                f" 3<&{passed.fileno()} 9<&{inherited.fileno()}"
            )
            running = Running(
                ["bash", "-c", command],
                cwd=Path.cwd(),
                env={"PYTHONPATH": str(APPS)},
                pass_fds=[passed.fileno(), inherited.fileno()],
            )
            self.addCleanup(running.close)
            running.wait_for("worker 0 is ready")
            for address in (passed.getsockname(), inherited.getsockname()):
                with socket.create_connection(address[:2]) as connection:
                    self.assert_served(connection)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect("public.sock")
            self.assert_served(connection)
        running.signal(signal.SIGTERM)
        self.assertEqual(running.wait(), 0)
        self.assertFalse(Path("public.sock").exists())

    def assert_served(self, connection: socket.socket) -> None:
        """Send a request as an old client does, without a Host."""
        connection.settimeout(DEADLINE)
        connection.sendall(b"GET /pid HTTP/1.0\r\n\r\n")
        self.assertIn(b"200 OK", read_all(connection))


class DeathTests(SynchronousTestCase):
    """What happens when a process is killed."""

    def test_a_killed_worker_is_replaced(self) -> None:
        """The others serve on meanwhile, and the slot is filled again."""
        with shop(workers=2) as running:
            victim = int(running.get("/pid"))
            os.kill(victim, signal.SIGKILL)
            for _ in range(20):
                self.assertNotEqual(int(running.get("/pid")), victim)
            running.wait_for(rf"worker \d \(pid {victim}\) left with signal 9")
            running.wait_for(r"worker \d is ready")
            self.assertEqual(len(running.children()), 2)

    def test_a_worker_that_leaves_by_itself_is_replaced(self) -> None:
        """A crash in application code is no different."""
        with shop() as running, open_request(running, "/crash") as connection:
            self.assertEqual(read_all(connection), b"")
            running.wait_for("left with status 7 while it served GET /crash$")
            running.wait_for("worker 0 is ready")
            self.assertEqual({int(running.get("/pid"))}, running.children())

    def test_a_killed_master_leaves_nothing(self) -> None:
        """Workers and an isolated core notice, drain, and leave by themselves."""
        with shop("--core", "isolated", workers=2) as running:
            eventually(lambda: "core is ready" in running.text())
            children = running.children()
            self.assertEqual(len(children), 3)
            running.signal(signal.SIGKILL)
            running.wait()
            wait_until_gone(*children)

    def test_a_request_survives_the_masters_death(self) -> None:
        """Workers without a master answer what they have before they leave."""
        with (
            shop() as running,
            open_request(running, "/slow/1.5") as connection,
        ):
            running.wait_for("slow in")
            (worker,) = running.children()
            running.signal(signal.SIGKILL)
            self.assertIn(b"slow but sure", read_all(connection))
            wait_until_gone(worker)

    def test_blocked_workers_do_not_outlive_their_master(self) -> None:
        """Workers whose event loops hear nothing are ended all the same."""
        with (
            shop("--graceful-timeout", "1", workers=3) as running,
            ExitStack() as requests,
        ):
            workers = running.children()
            blocked = set()
            for _ in workers:
                requests.enter_context(open_request(running, "/block/600.0"))
                blocked.add(int(running.wait_for(r"blocking (\d+)")[1]))
            self.assertEqual(blocked, workers)
            running.signal(signal.SIGKILL)
            wait_until_gone(*workers, deadline=10.0)

    def test_a_killed_core_is_replaced(self) -> None:
        """Requests wait for an isolated core that is on its way."""
        with shop("--core", "isolated") as running:
            before = running.get("/core/pid")
            self.assertEqual(running.request("GET", "/core/crash")[0], 502)
            # While it exits, a connection that is kept to it may still look alive.
            running.wait_for(r"core \(pid \d+\) left")
            after = running.get("/core/pid")
            self.assertNotEqual(before, after)
            self.assertIn(int(after), running.children())


class StopTests(SynchronousTestCase):
    """What happens when the operator asks a cluster to stop."""

    def test_term_lets_requests_finish(self) -> None:
        """What is under way is answered, then everything leaves with status 0."""
        with shop() as running, open_request(running, "/slow/1.5") as connection:
            running.wait_for("slow in")
            running.signal(signal.SIGTERM)
            answer = read_all(connection)
            self.assertIn(b"slow but sure", answer)
            self.assertIn(b"Connection: close", answer)
            self.assertEqual(running.wait(), 0)
        self.assertIn("core stops", running.text())

    def test_a_request_that_takes_too_long_is_given_up(self) -> None:
        """The graceful timeout bounds a stop; stop hooks run all the same."""
        flags = ("--graceful-timeout", "1")
        with (
            shop(*flags) as running,
            open_request(running, "/slow/600.0") as connection,
        ):
            running.wait_for("slow in")
            running.signal(signal.SIGTERM)
            self.assertEqual(running.wait(), 0)
            self.assertEqual(_read_or_reset(connection), b"")
            self.assertIn("worker 0 stops", running.text())
            self.assertNotIn("left with signal", running.text())

    def test_process_that_is_joined_at_exit(self) -> None:
        """A stop does not last as long as a process that the application started."""
        flags = ("--app", "joining:app", "--graceful-timeout", "1")
        env = {"PYTHONPATH": str(APPS)}
        with cluster(*flags, workers=1, env=env) as running:
            other = int(running.get("/core"))
            try:
                running.signal(signal.SIGTERM)
                wait_until_gone(
                    running.pid, deadline=longest_stop(Settings(graceful_timeout=1))
                )
                self.assertTrue(is_alive(other))
            finally:
                os.kill(other, signal.SIGKILL)  # it holds the master's stdout open
            self.assertEqual(running.wait(), 0)
        self.assertRegex(
            running.text(),
            rf"has not exited within .* s of its stop: .* \(pid {other}\)",
        )

    def test_half_close(self) -> None:
        """A client that closes its side is taken to have left, as in twisted.web."""
        with (
            shop() as running,
            open_request(running, "/slow/600.0") as connection,
        ):
            running.wait_for("slow in")
            connection.shutdown(socket.SHUT_WR)
            self.assertEqual(read_all(connection), b"")

    def test_int_reaches_only_the_master(self) -> None:
        """Ctrl-C goes to the whole process group; workers leave it to the master."""
        with (
            shop() as running,
            open_request(running, "/slow/1.5") as connection,
        ):
            running.wait_for("slow in")
            (worker,) = running.children()
            os.kill(worker, signal.SIGINT)
            running.signal(signal.SIGINT)
            self.assertIn(b"slow but sure", read_all(connection))
            self.assertEqual(running.wait(), 0)

    def test_quit_stops_at_once(self) -> None:
        """QUIT waits for no request."""
        with shop() as running, open_request(running, "/slow/600.0") as connection:
            running.wait_for("slow in")
            running.signal(signal.SIGQUIT)
            self.assertEqual(running.wait(), 0)
            self.assertEqual(_read_or_reset(connection), b"")

    def test_term_of_a_worker_drains_it(self) -> None:
        """A worker answers what it has, leaves, and is replaced."""
        with (
            shop() as running,
            open_request(running, "/slow/1.5") as connection,
        ):
            running.wait_for("slow in")
            (worker,) = running.children()
            os.kill(worker, signal.SIGTERM)
            self.assertIn(b"slow but sure", read_all(connection))
            running.wait_for("worker 0 is ready")


def _read_or_reset(connection: socket.socket) -> bytes:
    try:
        return read_all(connection)
    except ConnectionResetError:
        return b""
