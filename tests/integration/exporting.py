"""A cluster whose configuration is exported, and the program that it is for."""

import json
import os
import signal
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase
from wsproto.events import TextMessage

from tests.integration.fronts import Front, clusterctl
from tests.integration.http.test_websockets import Client
from tests.integration.running import (
    APPS,
    DEADLINE,
    RunningCluster,
    cluster,
    eventually,
)
from tests.ports import free_port

IMMUTABLE = "max-age=31536000, immutable"

#: Clients by what they are known by.
KEYS = [f"client-{number}" for number in range(24)]


class ExportCase(SynchronousTestCase):
    """A cluster with static files, and a folder for a proxy."""

    program: str
    start: Callable[[str, Path], Front]

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="clusterapp-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.static = self.folder / "static files"
        self.static.mkdir()
        (self.static / "app.css").write_text("body { margin: 0 }")
        (self.static / "app.css.gz").write_bytes(b"\x1f\x8bsqueezed")

    def cluster(
        self, *flags: str, workers: int = 1, proxy: str | None = None
    ) -> RunningCluster:
        more = "" if proxy is None else f":proxy={proxy}"
        started = cluster(
            *("--app", "fronted:app", *flags),
            cwd=APPS,
            workers=workers,
            listen=f"tcp:0:interface=127.0.0.1{more}",
            env={"FRONTED_STATIC": str(self.static)},
        )
        running = started.__enter__()
        self.addCleanup(started.__exit__, None, None, None)
        return running

    def front(self, running: RunningCluster) -> Front:
        site = clusterctl(running, "export", self.program)
        front = type(self).start(site, self.folder)
        self.addCleanup(front.close)
        return front

    def with_ports(self, *flags: str, workers: int = 2) -> RunningCluster:
        first = str(free_port(workers))
        return self.cluster("--worker-ports", first, *flags, workers=workers)

    def assert_serves(self, front: Front) -> None:
        """Requests, bodies, the core and WebSockets pass, and say who the client is."""
        heard = front.who(
            Host="shop.example",
            X_Forwarded_For="203.0.113.9",
            Forwarded="for=198.51.100.1",
        )
        fields = heard["fields"]
        self.assertEqual(fields["host"], "shop.example")
        self.assertEqual(fields["x-forwarded-host"], "shop.example")
        self.assertEqual(fields["x-forwarded-for"], "203.0.113.9, 127.0.0.1")
        self.assertEqual(fields["x-forwarded-proto"], "http")
        self.assertNotIn("forwarded", fields)
        self.assertEqual(front.get("/counted"), b"the core")
        body = b"x" * 200_000
        self.assertEqual(front.request("POST", "/length", body)[2], b"200000")
        connection = front.connection()
        connection.connect()
        self.addCleanup(connection.close)
        client = Client(connection.sock, "/socket")
        for text in ("one", "two" * 1000):
            client.send(TextMessage(text))
            self.assertEqual(client.message(), text)
        client.close()

    def places(self, front: Front, ask: Callable[[str], int]) -> dict[str, int]:
        """Return the slot of each client, which must be the same each time."""
        found = {key: ask(key) for key in KEYS}
        for key in KEYS:
            self.assertEqual(ask(key), found[key], (key, front.running.text()))
        return found

    def kill(self, running: RunningCluster, slot: int) -> None:
        """Kill the worker of a slot, and wait until another one has it."""
        workers = json.loads(clusterctl(running, "--json", "status"))["workers"]
        os.kill(workers[slot]["pid"], signal.SIGKILL)
        running.wait_for(rf"worker {slot} is ready")

    def assert_nothing_is_lost(self, running: RunningCluster, front: Front) -> None:
        """A worker dies and the proxy is reloaded while clients ask."""
        over, answers = threading.Event(), []

        def ask() -> None:
            # With a pause: there is more to do for the processors meanwhile.
            while not over.wait(0.01):
                answers.append(front.request("GET", "/who")[0])

        clients = [threading.Thread(target=ask) for _ in range(4)]
        for client in clients:
            client.start()
        try:
            self.kill(running, 0)
            front.reload()
            eventually(lambda: len(answers) > 200)
        finally:
            over.set()
            for client in clients:
                client.join(DEADLINE)
        self.assertEqual(set(answers), {200}, front.running.text())

    def assert_stays(
        self, running: RunningCluster, front: Front, ask: Callable[[str], int]
    ) -> None:
        """Each client has its slot, whatever becomes of its worker or of the proxy."""
        before = self.places(front, ask)
        self.assertEqual(set(before.values()), {0, 1})
        self.kill(running, 0)
        self.assertEqual(self.places(front, ask), before)
        front.reload()
        self.assertEqual(self.places(front, ask), before)

    def assert_known_by_a_parameter(self) -> None:
        """So it is with what stands in the URL."""
        running = self.with_ports("--dispatch", "sticky", "--sticky", "query:sid")
        front = self.front(running)
        found = self.places(front, lambda key: front.who(f"/who?sid={key}")["slot"])
        self.assertEqual(set(found.values()), {0, 1})

    def assert_known_by_the_address(self) -> None:
        """So it is with where clients come from, which the proxy tells the workers."""
        running = self.with_ports("--dispatch", "sticky", "--sticky", "client-ip")
        front = self.front(running)

        def ask(key: str) -> int:
            number = KEYS.index(key)
            connection = front.connection(f"127.0.1.{number + 1}")
            self.addCleanup(connection.close)
            asked = front.request("GET", "/who", None, None, connection)
            return int(json.loads(asked[2])["slot"])

        self.assert_stays(running, front, ask)
