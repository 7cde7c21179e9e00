"""A new master that takes over from an old one: real programs, sockets and signals."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trustme
from twisted.trial.unittest import SynchronousTestCase

from tests.integration.running import (
    DEADLINE,
    SCRIPTS,
    RunningCluster,
    children_of,
    clean_environment,
    eventually,
    is_alive,
    wait_until_gone,
)

SHOP = """\
import os
from clusterapp import Application

app = Application()

@app.route("/")
def version(request):
    return "version {version}"

@app.core.route("/core")
def core(request):
    return f"{{os.getpid()}}"
"""


class UpgradeCase(SynchronousTestCase):
    """A folder with an application, a control socket and a pid file."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="clusterapp-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.control = self.folder / "control.sock"
        self.pid_file = self.folder / "master.pid"
        self.deploy("1")

    def deploy(self, version: str) -> None:
        (self.folder / "shop.py").write_text(SHOP.format(version=version))

    def command(self, *flags: str) -> list[str]:
        return [
            *(str(SCRIPTS / "twistd"), f"--pidfile={self.pid_file}", *flags),
            *("clusterapp", "--workers", "1", "--app", "shop:app"),
            *("--listen", "tcp:0:interface=127.0.0.1", "--state", "state"),
            *("--control", str(self.control)),
        ]

    @contextmanager
    def running(self, *more: str) -> Iterator[RunningCluster]:
        """Run a cluster; whichever master is the last is ended with it."""
        running = RunningCluster(
            [*self.command("-n"), *more], workers=1, cwd=self.folder
        )
        try:
            yield running.started()
        finally:
            self.end(self.pid())
            running.close()

    def end(self, pid: int | None) -> None:
        if pid is not None and is_alive(pid):
            os.kill(pid, signal.SIGTERM)
            wait_until_gone(pid)

    def pid(self) -> int | None:
        """Return what the pid file says."""
        try:
            return int(self.pid_file.read_text())
        except FileNotFoundError:
            return None

    def clusterctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [SCRIPTS / "clusterctl", "--socket", self.control, *arguments],
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )


class TakeOverTests(UpgradeCase):
    """An upgrade that goes well."""

    def test_everything_follows(self) -> None:
        """The code, the port, the pid file and the control socket."""
        with self.running() as running:
            self.assertEqual(running.get("/"), b"version 1")
            self.assertEqual(self.pid(), running.pid)
            self.deploy("2")
            ended = self.clusterctl("upgrade")
            self.assertEqual((ended.returncode, ended.stderr), (0, ""))
            self.assertIn(f"has taken over from pid {running.pid}", ended.stdout)
            self.assertEqual(running.process.wait(DEADLINE), 0)
            fresh = self.pid()
            self.assertNotEqual(fresh, running.pid)
            self.assertEqual(running.get("/"), b"version 2")
            # The core runs in the master.
            self.assertEqual(running.get("/core"), f"{fresh}".encode())
            # Also by who does not know where the control socket is.
            state = str(self.folder / "state")
            found = subprocess.run(
                [SCRIPTS / "clusterctl", "--state", state, "status"],
                env=clean_environment(),
                capture_output=True,
                text=True,
                timeout=DEADLINE,
                check=False,
            )
            for status in (self.clusterctl("status"), found):
                self.assertEqual(status.returncode, 0, status)
                self.assertIn(f"{fresh}", status.stdout)
            self.assertEqual(self.clusterctl("stop").returncode, 0)
            assert fresh is not None
            wait_until_gone(fresh)
            eventually(lambda: self.pid() is None)
            self.assertFalse(self.control.exists())
            self.assertEqual(list((self.folder / "state").iterdir()), [])

    def status(self) -> Any:
        """Return what ``clusterctl status`` knows."""
        ended = self.clusterctl("status", "--json")
        self.assertEqual(ended.returncode, 0, ended)
        return json.loads(ended.stdout)

    def test_what_operators_have_set(self) -> None:
        """It is kept, and generations are numbered on; changed settings win."""
        with self.running() as running:
            for command in (
                ("scale", "3"),
                ("dispatch", "round-robin"),
                ("reload",),
                ("drain", "2"),
            ):
                self.assertEqual(self.clusterctl(*command).returncode, 0, command)
            for generation in (3, 4):
                self.assertEqual(self.clusterctl("upgrade").returncode, 0)
                status = self.status()
                self.assertEqual(status["generation"], generation)
                slots = {each["slot"]: each for each in status["workers"]}
                self.assertEqual(sorted(slots), [0, 1, 2])
                self.assertEqual(slots[2]["state"], "stopped")
                self.assertEqual(slots[0]["generation"], generation)
                (listener,) = status["distribution"]["listeners"]
                self.assertEqual(listener["dispatch"], "round-robin")
            self.assertEqual(self.clusterctl("reload").returncode, 0)
            self.assertEqual(self.status()["generation"], 5)
            settings = self.folder / "clusterapp.toml"
            settings.write_text('dispatch = "least-connections"\n')
            self.assertEqual(self.clusterctl("upgrade").returncode, 0)
            (listener,) = self.status()["distribution"]["listeners"]
            self.assertEqual(listener["dispatch"], "least-connections")
            self.assertEqual(len(self.status()["workers"]), 3)
            self.assertEqual(running.get("/"), b"version 1")

    def test_by_a_signal_and_again(self) -> None:
        """The new master can be followed as well."""
        with self.running() as running:
            masters = [running.pid]
            for version in ("2", "3"):
                self.deploy(version)
                os.kill(masters[-1], signal.SIGUSR2)
                wait_until_gone(masters[-1])
                fresh = self.pid()
                assert fresh is not None
                masters.append(fresh)
                self.assertEqual(running.get("/"), f"version {version}".encode())
            self.assertEqual(len(set(masters)), 3)

    def test_folder_that_was_made_anew(self) -> None:
        """The working folder is the one that has its name now, in every upgrade."""
        self.move_to_a_folder_below()
        with self.running("--access-log", "access.log") as running:
            for version in ("2", "3"):
                shutil.rmtree(self.folder)
                self.folder.mkdir()
                self.deploy(version)
                reloaded = self.clusterctl("reload")
                self.assertEqual(reloaded.returncode, 0, reloaded)
                self.assertEqual(running.get("/"), f"version {version}".encode())
                before = self.pid()
                self.assertIsNotNone(before)
                upgraded = self.clusterctl("upgrade")
                self.assertEqual(upgraded.returncode, 0, upgraded.stderr)
                self.assertNotIn(self.pid(), {None, before})
                running.get("/?in_the_log")
                log = self.folder / "access.log"
                eventually(lambda log=log: "in_the_log" in log.read_text())  # type: ignore[misc]

    def test_folder_that_is_gone(self) -> None:
        """The upgrade fails with a sentence, and the old master serves on."""
        self.move_to_a_folder_below()
        # A state folder in it would be made again, and the folder with it.
        with self.running("--state", str(self.folder.parent / "state")) as running:
            shutil.rmtree(self.folder)
            failed = self.clusterctl("upgrade")
            self.assertEqual(failed.returncode, 1)
            self.assertIn("the new master cannot be started: ", failed.stdout)
            self.assertIn(str(self.folder), failed.stdout)
            self.assertNotIn("Traceback", running.text())
            self.assertEqual(running.get("/"), b"version 1")
            self.folder.mkdir()

    def test_application_that_changes_its_folder(self) -> None:
        """Relative paths of settings are in the folder that the master started in."""
        (self.folder / "shop.py").write_text(
            "import os; os.chdir('/')\n" + SHOP.format(version="1")
        )
        leaf = trustme.CA().issue_cert("localhost")
        (self.folder / "own.pem").write_bytes(leaf.cert_chain_pems[0].bytes())
        (self.folder / "own.key").write_bytes(leaf.private_key_pem.bytes())
        tls = "tls:0:interface=127.0.0.1:certificate=own.pem:key=own.key"
        with self.running("--listen", tls, "--control", "own.sock") as running:
            self.control = self.folder / "own.sock"
            for command in ("reload", "upgrade", "reload"):
                done = self.clusterctl(command)
                self.assertEqual(done.returncode, 0, f"{command}: {done.stdout}")
                self.assertEqual(running.get("/"), b"version 1")
                self.assertTrue(running.get("/core").isdigit())
            self.assertEqual(self.clusterctl("status").returncode, 0)

    def move_to_a_folder_below(self) -> None:
        """Run in a folder that has neither control socket nor pid file in it."""
        self.folder /= "site"
        self.folder.mkdir()
        self.deploy("1")

    def test_request_under_way(self) -> None:
        """The old master's worker finishes an upload that began before."""
        with self.running() as running, running.connect() as connection:
            connection.sendall(
                b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n"
            )
            upgraded = subprocess.Popen(
                [SCRIPTS / "clusterctl", "--socket", self.control, "upgrade"],
                stdout=subprocess.DEVNULL,
            )
            eventually(lambda: self.pid() != running.pid)
            self.assertEqual(upgraded.wait(DEADLINE), 0)
            self.assertTrue(is_alive(running.pid))
            connection.sendall(b"ab")
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
            self.assertTrue(answer.endswith(b"version 1"), answer)
            self.assertIn(b"\r\nConnection: close\r\n", answer)
            self.assertEqual(running.process.wait(DEADLINE), 0)

    def test_idle_connection(self) -> None:
        """It goes on with the new master's worker, and does not see that."""
        with self.running() as running, running.connect() as connection:
            ask = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
            connection.sendall(ask)
            self.assertTrue(connection.recv(65536).endswith(b"version 1"))
            self.deploy("2")
            self.assertEqual(self.clusterctl("upgrade").returncode, 0)
            self.assertEqual(running.process.wait(DEADLINE), 0)
            connection.sendall(ask)
            answer = connection.recv(65536)
            self.assertTrue(answer.endswith(b"version 2"), answer)
            self.assertNotIn(b"close", answer)

    def test_unix_socket(self) -> None:
        """The old master leaves its path to the new one."""
        path = self.folder / "shop.sock"

        def asked() -> bytes:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(DEADLINE)
                connection.connect(str(path))
                connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
                return b"".join(iter(lambda: connection.recv(65536), b""))

        with self.running("--listen", f"unix:{path}") as running:
            self.deploy("2")
            self.assertEqual(self.clusterctl("upgrade").returncode, 0)
            self.assertEqual(running.process.wait(DEADLINE), 0)
            self.assertTrue(asked().endswith(b"version 2"))
            fresh = self.pid()
            self.end(fresh)
            self.assertFalse(path.exists())

    def test_daemon(self) -> None:
        """The new master logs to the same file, and is the pid file's."""
        log = self.folder / "twistd.log"
        subprocess.run(
            self.command(),
            cwd=self.folder,
            check=True,
            timeout=DEADLINE,
            env=clean_environment(),
        )
        old = self.pid()
        assert old is not None
        try:
            eventually(lambda: "worker 0 is ready" in log.read_text())
            self.assertEqual(self.clusterctl("upgrade").returncode, 0)
            wait_until_gone(old)
            fresh = self.pid()
            self.assertNotIn(fresh, {None, old})
            self.assertEqual(log.read_text().count("worker 0 is ready"), 2)
        finally:
            self.end(self.pid())

    def test_other_commands(self) -> None:
        """Twist has neither a pid file nor a daemon."""
        for program in ([f"{SCRIPTS}/twist"], [sys.executable, "-m", "twisted"]):
            command = [*program, "--log-format=text", *self.command()[2:]]
            running = RunningCluster(command, workers=1, cwd=self.folder)
            fresh = None
            try:
                running.started()
                ended = self.clusterctl("upgrade", "--json")
                self.assertEqual(ended.returncode, 0, ended)
                self.assertEqual(running.process.wait(DEADLINE), 0)
                status = self.clusterctl("status", "--json").stdout
                fresh = int(status.partition('"pid": ')[2].partition(",")[0])
                self.assertTrue(is_alive(fresh))
            finally:
                self.end(fresh)
                running.close()


class StayTests(UpgradeCase):
    """An upgrade that does not go well: the old master serves on."""

    def refused(self, running: RunningCluster, *facts: str) -> None:
        """Expect that an upgrade fails for reasons that are told."""
        before = children_of(running.pid)
        ended = self.clusterctl("upgrade")
        self.assertEqual(ended.returncode, 1, ended)
        for fact in facts:
            self.assertIn(fact, ended.stdout + ended.stderr)
        eventually(lambda: children_of(running.pid) == before)
        self.assertEqual(running.get("/"), b"version 1")
        self.assertEqual(self.pid(), running.pid)
        self.assertEqual(self.clusterctl("status").returncode, 0)

    def test_application_cannot_be_loaded(self) -> None:
        with self.running() as running:
            (self.folder / "shop.py").write_text("import nosuchmodule\n")
            self.refused(running, "nosuchmodule")
            text = running.text()
            # What the new master logs is told apart from what the old one does.
            self.assertRegex(text, r"#info\] starting \d worker")
            self.assertRegex(text, r"#info\] \[upgrade\] starting \d worker")
            self.assertRegex(text, r"#error\] \[upgrade\] worker 0 cannot start: ")
            self.assertRegex(text, r"#error\] upgrade failed: ")

    def test_wrong_settings(self) -> None:
        """They are refused before there is anything to tell the old master with."""
        with self.running() as running:
            (self.folder / "clusterapp.toml").write_text("wrokers = 3\n")
            self.refused(running, "the new master cannot serve: it left with status 1")
            self.assertIn("unknown setting 'wrokers'", running.text())

    def test_socket_that_is_taken(self) -> None:
        with self.running() as running, socket.create_server(("127.0.0.1", 0)) as one:
            taken = one.getsockname()[1]
            (self.folder / "clusterapp.toml").write_text(
                f'core_listen = ["tls:{taken}:certificate=a:key=b:ca=c"]\n'
            )
            self.refused(running, "cannot serve: cannot listen on tls:")

    def test_control_socket_that_cannot_be_had(self) -> None:
        """Nobody could reach the new master, so the old one stays."""
        with self.running() as running:
            before = children_of(running.pid)
            self.control.unlink()
            self.control.write_text("no socket")
            running.signal(signal.SIGUSR2)
            running.wait_for(
                "upgrade failed: the new master cannot serve: cannot listen on the"
                f" control socket {self.control}: it is not a socket"
            )
            eventually(lambda: children_of(running.pid) == before)
            self.assertEqual(running.get("/"), b"version 1")
            self.assertEqual(self.pid(), running.pid)
            self.control.unlink()
            running.signal(signal.SIGUSR2)
            running.wait_for("upgrade done")
            running.process.wait(DEADLINE)
            self.assertEqual(self.clusterctl("status").returncode, 0)

    def test_workers_that_are_never_ready(self) -> None:
        with self.running() as running:
            # For the new master alone: the old one's workers are good, and it waits
            # until the new one has tried five times.
            (self.folder / "clusterapp.toml").write_text("boot_timeout = 2\n")
            (self.folder / "shop.py").write_text(
                SHOP.format(version="2")
                + "\nfrom twisted.internet.defer import Deferred\n"
                + "app.on_start(lambda: Deferred())\n"
            )
            self.refused(running, "no worker ever became ready")
