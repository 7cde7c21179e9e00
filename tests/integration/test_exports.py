"""Exported configurations, in the programs that they are for."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import yaml
from twisted.trial.unittest import SynchronousTestCase
from wsproto.events import TextMessage

from tests.integration.fronts import (
    Front,
    clusterctl,
    free_ports,
    haproxy,
    nginx,
    servers,
)
from tests.integration.running import (
    DEADLINE,
    SCRIPTS,
    RunningCluster,
    clean_environment,
    cluster,
    eventually,
)
from tests.integration.test_websockets import Client

APPS = Path(__file__).parent / "apps"
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

    def cluster(self, *flags: str, workers: int = 2) -> RunningCluster:
        started = cluster(
            *("--app", "fronted:app", *flags),
            cwd=APPS,
            workers=workers,
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
        first = str(free_ports(workers))
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
        """Tell the slot of each client, which must be the same each time."""
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
            while not over.is_set():
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


class NginxTests(ExportCase):
    """nginx, as Debian has it."""

    program, start = "nginx", staticmethod(nginx)

    def test_public_port(self) -> None:
        self.assert_serves(self.front(self.cluster()))

    def test_unix_socket(self) -> None:
        """Where there is nothing else that is not encrypted, or expects more."""
        path = self.folder / "a b.sock"
        running = self.cluster("--listen", f"unix:{path}")
        site = clusterctl(running, "export", "nginx")
        address = re.search(r"server (127\S+);", site)
        assert address is not None
        front = nginx(site.replace(address[1], f'"unix:{path}"'), self.folder)
        self.addCleanup(front.close)
        self.assertEqual(front.get("/counted"), b"the core")

    def test_worker_ports(self) -> None:
        running = self.with_ports()
        front = self.front(running)
        self.assert_serves(front)
        self.assert_nothing_is_lost(running, front)

    def test_largest_body(self) -> None:
        front = self.front(self.cluster("--max-body", "1000"))
        self.assertEqual(front.request("POST", "/length", b"x" * 1000)[2], b"1000")
        self.assertEqual(front.request("POST", "/length", b"x" * 1001)[0], 413)

    def test_known_by_a_field(self) -> None:
        """A client stays, whatever becomes of its worker, and of nginx."""
        running = self.with_ports("--dispatch", "sticky", "--sticky", "header:X_Sid")
        front = self.front(running)

        def ask(key: str) -> int:
            _, _, body = front.request("GET", "/who", headers={"X_Sid": key})
            return int(re.findall(rb'"slot": (\d+)', body)[0])

        before = self.places(front, ask)
        self.assertEqual(set(before.values()), {0, 1})
        self.kill(running, 0)
        self.assertEqual(self.places(front, ask), before)
        front.reload()
        self.assertEqual(self.places(front, ask), before)

    def test_known_by_a_parameter(self) -> None:
        running = self.with_ports("--dispatch", "sticky", "--sticky", "query:sid")
        front = self.front(running)
        found = self.places(front, lambda key: front.who(f"/who?sid={key}")["slot"])
        self.assertEqual(set(found.values()), {0, 1})

    def test_known_by_a_cookie(self) -> None:
        """By the server itself, at its public port, for nginx cannot."""
        running = self.with_ports("--dispatch", "sticky", "--sticky", "cookie:sid")
        front = self.front(running)
        for _ in range(8):
            _, headers, body = front.request("GET", "/who")
            cookie = headers["Set-Cookie"].partition(";")[0]
            slot = int(re.findall(rb'"slot": (\d+)', body)[0])
            for _ in range(4):
                self.assertEqual(front.who(Cookie=cookie)["slot"], slot)

    def test_static_files(self) -> None:
        """The proxy sends what it may, as a worker would; a worker sends the rest."""
        (self.folder / "secret.css").write_text("not below the folder")
        (self.static / "link.css").symlink_to("../secret.css")
        (self.static / ".hidden.css").write_text("hidden")
        (self.static / "deep").mkdir()
        (self.static / "deep" / "a b.txt").write_text("déjà vu", "utf-8")
        (self.static / "data.xyz").write_text("rare")
        running = self.cluster("--static-max-age", "3600")
        front = self.front(running)
        marked = running.get("/stylesheet").decode()
        for target, by_nginx in (
            ("/static/app.css", True),
            ("/static/deep/a%20b.txt", True),
            ("/static/data.xyz", False),
            (marked, False),
            ("/static/none.css", False),
            ("/static/link.css", False),
            ("/static/.hidden.css", False),
            ("/static/deep", False),
        ):
            ours_status, ours, our_body = running.request("GET", target)
            status, headers, body = front.request("GET", target)
            self.assertEqual((status, body), (ours_status, our_body), target)
            for name in ("Content-Type", "Cache-Control", "X-Content-Type-Options"):
                self.assertEqual(headers[name], ours.get(name), (target, name))
            # Both make an entity tag, and not the same.
            own = headers["ETag"] is not None and headers["ETag"] != ours.get("ETag")
            self.assertEqual(own, by_nginx, target)

    def test_static_files_in_time(self) -> None:
        """A fingerprint is for ever if it fits; a file that is edited shows at once."""
        running = self.cluster()
        front = self.front(running)
        marked = front.get("/stylesheet").decode()
        for target, caching in (("/static/app.css", "no-cache"), (marked, IMMUTABLE)):
            _, headers, body = front.request("GET", target)
            self.assertEqual(body, b"body { margin: 0 }")
            self.assertEqual(headers["Cache-Control"], caching)
        packed = {"Accept-Encoding": "gzip"}
        _, headers, body = front.request("GET", "/static/app.css", headers=packed)
        self.assertEqual((headers["Content-Encoding"], body[:2]), ("gzip", b"\x1f\x8b"))
        self.assertEqual(headers["Vary"], "Accept-Encoding")
        (self.static / "app.css").write_text("body { margin: 1px }")
        self.assertEqual(front.get("/static/app.css"), b"body { margin: 1px }")
        eventually(
            lambda: front.request("GET", marked)[1]["Cache-Control"] != IMMUTABLE
        )

    def test_static_files_by_the_workers_word(self) -> None:
        prefix = "X-Accel-Redirect=/internal/static/"
        front = self.front(self.cluster("--sendfile-header", prefix))
        marked = front.get("/stylesheet").decode()
        _, headers, body = front.request("GET", marked)
        self.assertEqual((headers["Cache-Control"], body[:4]), (IMMUTABLE, b"body"))
        self.assertEqual(front.request("GET", "/internal/static/app.css")[0], 404)


class HaproxyTests(ExportCase):
    """HAProxy, as Debian has it."""

    program, start = "haproxy", staticmethod(haproxy)

    def test_public_port(self) -> None:
        self.assert_serves(self.front(self.cluster()))

    def test_worker_ports(self) -> None:
        running = self.with_ports("--health-path", "/healthz")
        front = self.front(running)
        self.assert_serves(front)
        self.assert_nothing_is_lost(running, front)

    def test_known_by_a_field(self) -> None:
        """A client stays, whatever becomes of its worker, and of HAProxy."""
        agent = f"tcp:{free_ports(1)}:interface=127.0.0.1"
        running = self.with_ports(
            *("--dispatch", "sticky", "--sticky", "header:X-Sid"),
            *("--agent-check", agent),
        )
        front = self.front(running)

        def ask(key: str) -> int:
            return int(front.who(X_Sid=key)["slot"])

        before = self.places(front, ask)
        self.assertEqual(set(before.values()), {0, 1})
        self.kill(running, 0)
        self.assertEqual(self.places(front, ask), before)
        front.reload()
        self.assertEqual(self.places(front, ask), before)

    def test_known_by_a_parameter(self) -> None:
        running = self.with_ports("--dispatch", "sticky", "--sticky", "query:sid")
        front = self.front(running)
        found = self.places(front, lambda key: front.who(f"/who?sid={key}")["slot"])
        self.assertEqual(set(found.values()), {0, 1})

    def test_known_by_a_cookie(self) -> None:
        """Also on one connection that many clients share."""
        running = self.with_ports("--dispatch", "sticky", "--sticky", "cookie")
        front = self.front(running)
        cookies = {}
        for _ in range(8):
            _, headers, body = front.request("GET", "/who")
            cookie = headers["Set-Cookie"].partition(";")[0]
            cookies[cookie] = int(re.findall(rb'"slot": (\d+)', body)[0])
        self.assertEqual(set(cookies.values()), {0, 1})
        shared = front.connection()
        self.addCleanup(shared.close)
        for cookie, slot in [*cookies.items()] * 4:
            asked = front.request("GET", "/who", None, {"Cookie": cookie}, shared)
            self.assertIn(f'"slot": {slot}'.encode(), asked[2])

    def test_agent(self) -> None:
        """HAProxy hears of the master how each worker is."""
        agent = f"tcp:{free_ports(1)}:interface=127.0.0.1"
        running = self.with_ports("--agent-check", agent)
        self.front(running)
        for slot in ("slot0", "slot1"):
            eventually(lambda slot=slot: self.agent_says(slot, "up"))  # type: ignore[misc]
        self.assertGreater(int(servers(self.folder)["slot0"]["weight"]), 1)
        clusterctl(running, "drain", "1")
        eventually(lambda: servers(self.folder)["slot1"]["status"] != "UP")
        self.assertIn("stopped", servers(self.folder)["slot1"]["last_agt"])
        self.assertEqual(servers(self.folder)["slot0"]["status"], "UP")
        clusterctl(running, "restart", "1")
        eventually(lambda: servers(self.folder)["slot1"]["status"] == "UP")

    def test_agent_after_an_upgrade(self) -> None:
        """The new master answers, on the same socket."""
        agent = f"tcp:{free_ports(1)}:interface=127.0.0.1"
        running = self.with_ports("--agent-check", agent)
        self.front(running)
        eventually(lambda: self.agent_says("slot0", "up"))
        clusterctl(running, "upgrade")
        said = servers(self.folder)["slot0"]["agent_duration"]
        self.assertIsNotNone(said)
        clusterctl(running, "drain", "0")
        eventually(lambda: "stopped" in servers(self.folder)["slot0"]["last_agt"])
        clusterctl(running, "stop")

    def agent_says(self, slot: str, word: str) -> bool:
        row = servers(self.folder)[slot]
        return row["agent_status"] == "L7OK" and word in row["last_agt"]


class ServiceManagerTests(ExportCase):
    """systemd, compose and Kubernetes, as far as they can be asked here."""

    def check(self, arguments: list[str]) -> None:
        """Have flags read, and the application loaded, as a start would."""
        command = [str(SCRIPTS / "twistd"), "-n", "--pidfile=", "clusterapp"]
        ended = subprocess.run(
            [*command, *arguments, "--check-config"],
            cwd=APPS,
            env={**clean_environment(), "FRONTED_STATIC": str(self.static)},
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        self.assertIn("configuration ok", ended.stdout, ended.stderr)

    def test_systemd(self) -> None:
        """The units are well, and the command is that of a cluster like this one."""
        port = free_ports(1)
        running = self.cluster(
            *("--listen", f"tcp:{port}:interface=127.0.0.1"),
            *("--graceful-timeout", "7", "--trusted-proxies", "127.0.0.1,10.0.0.0/8"),
        )
        text = clusterctl(running, "export", "systemd")
        parts = re.split(r"(?m)^# /etc/systemd/system/(.*)$", text)[1:]
        units = dict(zip(parts[::2], parts[1::2], strict=True))
        self.assertEqual(set(units), {"fronted.service", "fronted.socket"})
        self.assertIn(f"ListenStream=127.0.0.1:{port}\n", units["fronted.socket"])
        for name, unit in units.items():
            (self.folder / name).write_text(unit)
        verify = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no"]
        ended = subprocess.run(
            [*verify, *(str(self.folder / name) for name in units)],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        service = units["fronted.service"].replace("\\\n", " ")
        found = re.search("(?m)^ExecStart=(.*)$", service)
        assert found is not None
        words = shlex.split(found[1])
        self.assertEqual(shutil.which(words[0]), str(SCRIPTS / "twistd"))
        self.assertIn("systemd:0", words)
        self.check(words[words.index("clusterapp") + 1 :])

    def test_compose(self) -> None:
        port = free_ports(1)
        running = self.cluster("--listen", f"tcp:{port}")
        document = yaml.safe_load(clusterctl(running, "export", "compose"))
        [service] = document["services"].values()
        self.assertIn(f"{port}:{port}", service["ports"])
        self.assertIn(f"127.0.0.1:{running.port}:{running.port}", service["ports"])
        self.assertEqual(service["stop_grace_period"], "40s")
        self.check(service["command"])

    def test_kubernetes(self) -> None:
        running = self.cluster(
            *("--health-path", "/healthz", "--dispatch", "sticky"),
            *("--sticky", "client-ip"),
        )
        text = clusterctl(running, "export", "kubernetes")
        deployment, service = yaml.safe_load_all(text)
        [container] = deployment["spec"]["template"]["spec"]["containers"]
        self.assertEqual(container["readinessProbe"]["httpGet"]["path"], "/healthz")
        self.assertEqual(service["spec"]["sessionAffinity"], "ClientIP")
        self.assertEqual(service["spec"]["ports"][0]["port"], running.port)
        self.check(container["args"])
