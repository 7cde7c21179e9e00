"""Processes that have no file descriptors left."""

import os
import resource
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.chaos.sites import OF_THE_KILLED, ChaosCase, pid_in
from tests.integration.running import DEADLINE, SCRIPTS, RunningCluster

#: More clients than a worker has descriptors for, when it is left a few.
CLIENTS, FEW = 40, 10
#: How many descriptors a cluster may have that is to do with few.
LIMIT = 256


@contextmanager
def few_descriptors(pid: int, more: int) -> Iterator[None]:
    """Limit a process to ``more`` further descriptors, while the block runs."""
    highest = max(int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir())
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (highest + 1 + more, limits[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)


class DescriptorTests(ChaosCase):
    """Limits that clusters meet: from the start, or while they run."""

    def test_worker(self) -> None:
        """Clients without a descriptor wait; no connection is refused."""
        with self.cluster(workers=1) as running, ExitStack() as clients:
            worker = pid_in(running, 0)
            with few_descriptors(worker, FEW):
                asked = [clients.enter_context(ask(running, n)) for n in range(CLIENTS)]
                running.wait_for(
                    r"cannot accept: .*Too many open files|descriptors are in use"
                )
                answered = [self.answer(each) for each in asked[: FEW // 2]]
            answered += [self.answer(each) for each in asked[FEW // 2 :]]
            print(f"no descriptors: {len(answered)} of {CLIENTS} clients answered")
            self.assertEqual(len(answered), CLIENTS)
            self.assertEqual(running.children(), {worker}, running.text())
            with self.load(running) as load:
                load.wait_for(500)
            self.assert_served(load.report("afterwards"), at_least=500)
            self.assert_stops(running)

    def test_master(self) -> None:
        """It cannot fill a slot, and says so; later it can, and can be asked."""
        with self.cluster() as running, self.load(running) as load:
            load.wait_for(200)
            with few_descriptors(running.pid, 0):
                os.kill(pid_in(running, 0), signal.SIGKILL)
                running.wait_for("worker 0 cannot be started: .*Too many open files")
            # If that was too often, a minute goes by.
            running.wait_for("worker 0 is ready", deadline=DEADLINE + 60)
            self.assert_done("status")
            load.wait_for_more(200)
            figures = load.report("no descriptors in the master, a worker killed")
            self.assertLessEqual(set(figures.kinds), OF_THE_KILLED, figures)
            self.assert_stops(running)

    def test_idle_connections(self) -> None:
        """The longest idle connections are closed, so that new clients are served."""
        command = [
            *("prlimit", f"--nofile={LIMIT}:{LIMIT}"),
            *(str(SCRIPTS / "twistd"), "-n", "--pidfile=", "clusterapp"),
            *("--app", "shop:app", "--workers", "1"),
            *("--listen", "tcp:0:interface=127.0.0.1"),
            *("--working-folder", str(self.deploy.folder)),
            *("--state", str(self.folder / "state")),
        ]
        running = RunningCluster(command, workers=1, cwd=self.folder)
        self.addCleanup(running.close)
        running.started()
        with ExitStack() as clients:
            idle = []
            for number in range(2 * LIMIT):
                idle.append(clients.enter_context(running.connect()))
                if number % 16 == 0:
                    # Each answer comes although nobody has gone.
                    with ask(running, number) as asking:
                        self.answer(asking)
            running.wait_for("nearly all of 256 descriptors are in use")
            for connection in idle:
                connection.setblocking(False)
            closed = [is_closed(connection) for connection in idle]
        # The last ones are there, and of the first ones none.
        self.assertEqual(set(closed[:LIMIT]), {True})
        self.assertEqual(set(closed[-LIMIT // 2 :]), {False})
        self.assertNotIn("cannot accept", running.text())
        self.assert_stops(running)

    def answer(self, connection: socket.socket) -> bytes:
        """Read an answer, and keep the connection."""
        answer = connection.recv(65536)
        self.assertTrue(answer.startswith(b"HTTP/1.1 200 OK\r\n"), answer)
        return answer


def is_closed(connection: socket.socket) -> bool:
    """Return whether the other side has closed a connection that brings nothing."""
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False


@contextmanager
def ask(running: RunningCluster, number: int) -> Iterator[socket.socket]:
    """Send a request on a connection of its own, which is kept."""
    with running.connect() as connection:
        connection.sendall(b"GET /whoami/%d HTTP/1.1\r\nHost: x\r\n\r\n" % number)
        yield connection
