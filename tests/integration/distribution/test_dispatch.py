"""Which worker gets which connections, with real processes and sockets."""

import json
import os
import re
import signal
import socket
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, ClassVar

from twisted.trial.unittest import SynchronousTestCase

from tests.chaos.sites import ChaosCase, pid_in
from tests.integration.running import (
    APPS,
    DEADLINE,
    SCRIPTS,
    RunningCluster,
    clean_environment,
    cluster,
    eventually,
    wait_until_gone,
)
from tests.ports import free_port

ENVIRONMENT = {"PYTHONPATH": str(APPS)}
GET = "GET {target} HTTP/1.1\r\nHost: h\r\n{fields}\r\n"
CLOSE = "Connection: close\r\n"

#: Every policy that a cluster can begin with, and what else it needs.
POLICIES = (
    ("shared",),
    ("reuseport",),
    ("round-robin",),
    ("least-connections",),
    ("sticky", "--sticky", "cookie"),
    ("sticky", "--sticky", "client-ip"),
)


def ask(
    connection: socket.socket, target: str = "/", fields: str = ""
) -> tuple[str, dict[str, Any]]:
    """Ask a question on a connection; give the head and the answer."""
    connection.sendall(GET.format(target=target, fields=fields).encode())
    return read_answer(connection)


def read_answer(connection: socket.socket) -> tuple[str, dict[str, Any]]:
    """Read the answer to a question that was sent; give its head, too."""
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(65536)
        assert piece, f"closed after {received!r}"
        received += piece
    head, _, body = received.decode().partition("\r\n\r\n")
    length = int(head.lower().partition("content-length: ")[2].split("\r\n")[0])
    while len(body) < length:
        body += connection.recv(65536).decode()
    assert head.startswith("HTTP/1.1 200 "), head
    return head, json.loads(body)


def ask_once(port: int, fields: str = "") -> dict[str, Any]:
    """Ask a question on a connection of its own."""
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as connection:
        return ask(connection, fields=CLOSE + fields)[1]


def connect(port: int) -> socket.socket:
    """Connect to a listener."""
    return socket.create_connection(("127.0.0.1", port), timeout=DEADLINE)


def placed(*flags: str, workers: int = 4) -> AbstractContextManager[RunningCluster]:
    """Run a cluster whose answers tell the slot."""
    return cluster("--app", "placed:app", *flags, workers=workers, env=ENVIRONMENT)


def listeners(*policies: str) -> Iterator[str]:
    """Write the flags for listeners, each with a policy of its own or with none."""
    for policy in policies:
        yield "--listen"
        yield f"tcp:0:interface=127.0.0.1{policy and f':dispatch={policy}'}"


def ports(running: RunningCluster) -> list[int]:
    """Return the ports of all TCP listeners: that of every cluster is the first."""
    found = re.findall(r"listening at http://127\.0\.0\.1:(\d+)", running.text())
    return [*map(int, found)]


def slots(port: int, count: int) -> Counter[int]:
    """Count which slots answer so many connections, one after the other."""
    return Counter(ask_once(port)["slot"] for _ in range(count))


class SharedClusterTests(SynchronousTestCase):
    """
    What each policy does with connections, where there are others beside it.

    :cvar running: the cluster, which no test changes.
    :cvar control: the path of its control socket.
    """

    running: ClassVar[RunningCluster]
    control: ClassVar[Path]

    @classmethod
    def setUpClass(cls) -> None:
        """Run it while there are tests."""
        super().setUpClass()
        folder = cls.enterClassContext(
            tempfile.TemporaryDirectory(prefix="clusterapp-")
        )
        cls.control = Path(folder) / "control.sock"
        flags = ("--control", str(cls.control), "--dispatch", "round-robin")
        cls.running = cls.enterClassContext(
            placed(*flags, *listeners("", "shared", "reuseport"))
        )

    def kept(self, port: int, count: int) -> Counter[int]:
        """Count which slots have so many connections at the same time."""
        with ExitStack() as clients:
            connections = [clients.enter_context(connect(port)) for _ in range(count)]
            return Counter(ask(each)[1]["slot"] for each in connections)

    def test_round_robin(self) -> None:
        """Each worker has its part, to the connection."""
        self.assertEqual(set(slots(self.running.port, 40).values()), {10})
        self.assertEqual(set(self.kept(self.running.port, 40).values()), {10})

    def test_reuseport(self) -> None:
        """The kernel chooses among all of them."""
        self.assertEqual(set(slots(ports(self.running)[3], 60)), {0, 1, 2, 3})

    def test_shared_is_fair(self) -> None:
        """A worker above its share leaves the next connections to other workers."""
        counts = slots(ports(self.running)[2], 400)
        self.assertEqual(sum(counts.values()), 400)
        self.assertLessEqual(max(counts.values()), 400 / 4 * 1.5)

    def test_listener_of_its_own_policy(self) -> None:
        """Listeners without one have the cluster's."""
        ended = subprocess.run(
            [SCRIPTS / "clusterctl", "--socket", self.control, "status", "--json"],
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=True,
        )
        found = json.loads(ended.stdout)["distribution"]["listeners"]
        # The first is what `cluster` adds to every cluster.
        self.assertEqual(
            [each["dispatch"] for each in found],
            ["round-robin", "round-robin", "shared", "reuseport"],
        )
        for port in ports(self.running):
            self.assertIn("slot", ask_once(port))


class DispatchCase(ChaosCase):
    """A cluster that a test may change."""

    def placed(
        self, *flags: str, workers: int = 4
    ) -> AbstractContextManager[RunningCluster]:
        """Run it."""
        return placed("--control", str(self.control), *flags, workers=workers)

    def status(self) -> Any:
        """Ask for the status."""
        return json.loads(self.assert_done("status", "--json"))


class PolicyTests(DispatchCase):
    """What each policy does with connections."""

    def test_least_connections(self) -> None:
        """A worker with long-lived connections gets fewer new ones."""
        with (
            self.placed("--dispatch", "least-connections", workers=2) as running,
            ExitStack() as clients,
        ):
            held = [clients.enter_context(running.connect()) for _ in range(8)]
            slots = [ask(each)[1]["slot"] for each in held]
            self.assertEqual(sorted(Counter(slots).values()), [4, 4])
            left = slots[0]
            for each, slot in zip(held, slots, strict=True):
                if slot == left:
                    each.close()
            opened: list[int] = []

            def comes_back() -> bool:
                # The worker hears of the ends in its own time.
                each = clients.enter_context(running.connect())
                opened.append(ask(each)[1]["slot"])
                return opened[-3:] == [left] * 3

            eventually(comes_back)

    def test_worker_dies_with_connections_under_way(self) -> None:
        """What it has not received yet goes to others."""
        with (
            self.placed(*listeners("round-robin", "reuseport"), workers=2) as running,
            ExitStack() as clients,
        ):
            stopped = pid_in(running, 0)
            os.kill(stopped, signal.SIGSTOP)
            waiting = [
                clients.enter_context(connect(port))
                for port in ports(running)[1:]
                for _ in range(20)
            ]
            for each in waiting:
                each.sendall(GET.format(target="/", fields="").encode())
            os.kill(stopped, signal.SIGKILL)
            for each in waiting:
                self.assertIn(b"200 OK", each.recv(65536))

    def test_no_worker_at_all(self) -> None:
        """Connections wait for one."""
        for key, *policies in (
            ("cookie", "shared", "reuseport", "round-robin", "least-connections"),
            ("client-ip",),
        ):
            # One that a cluster begins with, and others beside it.
            flags = ("--dispatch", "sticky", "--sticky", key, *listeners(*policies))
            with (
                self.placed(*flags, workers=1) as running,
                ExitStack() as clients,
            ):
                for port in ports(running):
                    clients.enter_context(connect(port))
                os.kill(pid_in(running, 0), signal.SIGKILL)
                running.wait_for("left with signal 9")
                later = [clients.enter_context(connect(p)) for p in ports(running)]
                self.assertEqual(len(later), 1 + len(policies))
                for each in later:
                    each.sendall(GET.format(target="/", fields="").encode())
                for each, policy in zip(later, (key, *policies), strict=True):
                    self.assertEqual(read_answer(each)[1]["slot"], 0, policy)

    def test_refused(self) -> None:
        """What cannot be done is said at the start, and while it runs."""
        path = self.folder / "shop.sock"
        with self.placed("--listen", f"unix:{path}", workers=1) as running:
            ended = self.clusterctl("dispatch", "reuseport")
            self.assertEqual(ended.returncode, 3)
            self.assertIn(
                f"unix:{path} cannot be reuseport", ended.stderr + ended.stdout
            )
            ended = self.clusterctl("dispatch", "sticky", "--listener", "tcp:1")
            self.assertEqual(ended.returncode, 3)
            self.assertIn("there is no listener tcp:1", ended.stderr + ended.stdout)
            ended = self.clusterctl("dispatch", "sticky", "--sticky", "zz")
            self.assertEqual(ended.returncode, 2)
            self.assertEqual(sum(slots(running.port, 4).values()), 4)


class ChangeTests(DispatchCase):
    """Policies that are changed while clients come."""

    def test_every_policy_after_every_other(self) -> None:
        """Nothing fails, on new connections and on kept ones."""
        with (
            self.cluster(workers=3) as running,
            self.load(running, per_second=400.0) as load,
        ):
            load.wait_for(100)
            for policy in (*POLICIES, *reversed(POLICIES)):
                said = self.assert_done("dispatch", *policy)
                self.assertIn(policy[0], said)
                load.wait_for_more(60)
            self.assert_served(load.report("12 changes of policy"), at_least=700)
            self.assert_stops(running)

    def test_upgrades(self) -> None:
        """The next master takes over queues and groups as they are."""
        for policy in (("reuseport",), ("least-connections",), ("sticky",)):
            with (
                self.cluster("--dispatch", *policy) as running,
                self.load(running, per_second=400.0) as load,
            ):
                load.wait_for(100)
                self.assert_done("upgrade")
                wait_until_gone(running.pid)
                load.wait_for_more(100)
                figures = load.report(f"an upgrade under {policy[0]}")
                self.assert_served(figures, at_least=200)
                self.assert_done("stop")

    def test_upgrade_while_the_worker_is_busy(self) -> None:
        """What waits for it, and what it had no room for, is served all the same."""
        flags = ("--app", "shop:app", "--dispatch", "round-robin")
        with (
            cluster(
                *flags, "--control", str(self.control), workers=1, env=ENVIRONMENT
            ) as running,
            ExitStack() as clients,
        ):
            busy = clients.enter_context(running.connect())
            busy.sendall(GET.format(target="/block/2.0", fields=CLOSE).encode())
            waiting = [clients.enter_context(running.connect()) for _ in range(200)]
            for each in waiting:
                each.sendall(GET.format(target="/pid", fields=CLOSE).encode())
            self.assert_done("upgrade")
            answers = Counter(each.recv(15) for each in (busy, *waiting))
            self.assertEqual(answers, {b"HTTP/1.1 200 OK": 201})
            self.assert_done("stop")

    def test_cookie_outlives_an_upgrade(self) -> None:
        """The next master signs with the same key."""
        with self.placed("--dispatch", "sticky") as running:
            with running.connect() as connection:
                head, there = ask(connection)
            cookie = head.partition("Set-Cookie: ")[2].partition(";")[0]
            self.assert_done("upgrade")
            wait_until_gone(running.pid)
            for _ in range(8):
                again = ask_once(running.port, f"Cookie: {cookie}\r\n")
                self.assertEqual(again["slot"], there["slot"])
            self.assert_done("stop")

    def test_reload_keeps_what_was_changed(self) -> None:
        """Unless the settings themselves say something else by then."""
        with self.placed(workers=1):
            self.assert_done("dispatch", "round-robin")
            self.assert_done("reload")
            [listener] = self.status()["distribution"]["listeners"]
            self.assertEqual(listener["dispatch"], "round-robin")
            self.assertEqual(listener["by"], "master")


class WorkerPortTests(DispatchCase):
    """A port for each slot, beside the public one."""

    def test_each_reaches_its_slot(self) -> None:
        """Also when it is sticky: the balancer in front has decided."""
        first = free_port(4)
        with self.placed(
            *("--worker-ports", str(first), "--dispatch", "sticky"),
            *("--sticky", "header:X-Key"),
            workers=3,
        ) as running:
            for slot in range(3):
                for key in "abcde":
                    answer = ask_once(first + slot, f"X-Key: {key}\r\n")
                    self.assertEqual(answer["slot"], slot)
            self.assert_done("scale", "4")
            self.assertEqual(ask_once(first + 3)["slot"], 3)
            self.assert_done("drain", "1")
            self.assertNotEqual(ask_once(first + 1)["slot"], 1)
            self.assert_stops(running)

    def test_port_in_use(self) -> None:
        """It is named, and nothing is left behind."""
        first = free_port(4)
        with socket.create_server(("127.0.0.1", first + 1)):
            self.assertRaisesRegex(
                AssertionError,
                f"cannot listen on tcp:{first + 1}",
                self.placed("--worker-ports", str(first), workers=2).__enter__,
            )
