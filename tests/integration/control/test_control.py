"""`clusterctl` as a process of its own, with a control socket in another one."""

import json
import os
import pty
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.running import (
    APPS,
    DEADLINE,
    ROOT,
    SCRIPTS,
    Running,
    clean_environment,
    eventually,
    is_alive,
)

SERVER = APPS / "controlled.py"
CLUSTERCTL = str(SCRIPTS / "clusterctl")

Ended = subprocess.CompletedProcess[str]


class ControlCase(SynchronousTestCase):
    """A state folder, masters in it, and commands."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="clusterapp-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.environ = {**clean_environment(), "CLUSTERAPP_STATE": folder.name}
        # It would hide what is not flushed.
        self.environ.pop("PYTHONUNBUFFERED", None)

    def master(self, name: str = "1-a") -> Running:
        """Start one, and wait until its control socket is there."""
        self.path(name).parent.mkdir(exist_ok=True)
        running = Running(
            [sys.executable, str(SERVER), str(self.path(name))],
            cwd=self.folder,
            env={"PYTHONPATH": str(ROOT)},
        )
        self.addCleanup(running.close)
        running.wait_for("the control socket is there")
        return running

    def path(self, name: str = "1-a") -> Path:
        return self.folder / name / "control.sock"

    def run_command(self, *words: str) -> Ended:
        """Run a command to its end."""
        return subprocess.run(
            [CLUSTERCTL, *words],
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )

    def begin(self, *words: str) -> "subprocess.Popen[str]":
        """Begin a command that takes a while."""
        process = subprocess.Popen(
            # Ctrl-C ends it even if this process ignores that, as in the background.
            ["env", "--default-signal=INT", CLUSTERCTL, *words],
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(self.end, process)
        return process

    def end(self, process: "subprocess.Popen[str]") -> None:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=DEADLINE)

    def assert_ended(self, ended: Ended, status: int, out: str, err: str) -> None:
        self.assertEqual(
            (ended.returncode, ended.stdout, ended.stderr), (status, out, err)
        )


class LookTests(ControlCase):
    """Commands that only look."""

    def test_status(self) -> None:
        running = self.master()
        ended = self.run_command("status")
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        self.assertTrue(ended.stdout.startswith("scripted is ready\n"), ended.stdout)
        self.assertNotIn("\x1b", ended.stdout)
        document = json.loads(self.run_command("status", "--json").stdout)
        self.assertEqual(document["pid"], running.process.pid)

    def test_not_ready(self) -> None:
        running = self.master()
        running.signal(signal.SIGUSR2)
        eventually(lambda: self.run_command("status").returncode == 1)
        self.assertIn("told to be so", self.run_command("status").stdout)

    def test_config_and_stacks(self) -> None:
        self.master()
        ended = self.run_command("config")
        self.assertIn("workers  2      --workers\n", ended.stdout)
        ended = self.run_command("stacks", "1")
        self.assert_ended(ended, 0, "slot 1\nstack\n", "")
        ended = self.run_command("stacks", "--json")
        self.assert_ended(ended, 0, '{"0": "stack", "1": "stack"}\n', "")

    def test_colours_on_a_terminal(self) -> None:
        self.master()
        shown = self.on_a_terminal({})
        self.assertIn("\x1b[32mready\x1b[0m", shown)
        shown = self.on_a_terminal({"NO_COLOR": "1"})
        self.assertIn("scripted is ready", shown)
        self.assertNotIn("\x1b", shown)

    def on_a_terminal(self, environ: dict[str, str]) -> str:
        near, far = pty.openpty()
        with open(near, "rb", buffering=0) as screen:  # noqa: PTH123 - a descriptor
            process = subprocess.Popen(
                [CLUSTERCTL, "status"],
                env={**self.environ, "TERM": "xterm", **environ},
                stdin=far,
                stdout=far,
                stderr=far,
            )
            os.close(far)
            shown = b""
            try:
                while piece := screen.read(65_536):
                    shown += piece
            except OSError:
                pass  # EIO: the other end is closed (pty(7))
            self.assertEqual(process.wait(DEADLINE), 0)
        return shown.decode()


class OperationTests(ControlCase):
    """Commands that take a while."""

    def test_progress_comes_as_it_happens(self) -> None:
        running = self.master()
        reload = self.begin("reload")
        assert reload.stdout is not None
        running.wait_for("reload has begun")
        for n in range(2):
            running.signal(signal.SIGUSR1)
            line = reload.stdout.readline()
            self.assertEqual(line, f"slot {n}: ready after {n}.5 s\n")
            self.assertIsNone(reload.poll())
        running.signal(signal.SIGUSR1)
        self.assertEqual(
            reload.communicate(timeout=DEADLINE), ("done: 2 workers are new\n", "")
        )
        self.assertEqual(reload.returncode, 0)

    def test_json(self) -> None:
        running = self.master()
        drain = self.begin("drain", "1", "--json")
        running.wait_for("drain has begun")
        for _ in range(3):
            running.signal(signal.SIGUSR1)
            # Signals that are not taken yet would become one.
            assert drain.stdout is not None
            line = json.loads(drain.stdout.readline())
        self.assertEqual(line["verdict"]["text"], "slot 1 is empty")
        self.assertEqual(drain.communicate(timeout=DEADLINE), ("", ""))
        self.assertEqual(drain.returncode, 0)

    def test_failure(self) -> None:
        self.master()
        out = "starting a new master\nfailed: import error\n"
        ended = self.run_command("upgrade")
        self.assert_ended(ended, 1, out, "Traceback: shop\n")

    def test_refusals(self) -> None:
        """One at a time; and what cannot be done is said at once."""
        running = self.master()
        self.begin("restart", "0")
        running.wait_for("restart has begun")
        ended = self.run_command("reload")
        self.assert_ended(ended, 3, "", "clusterctl: a restart is under way\n")
        ended = self.run_command("restart", "7")
        self.assert_ended(ended, 3, "", "clusterctl: there is no slot 7\n")
        ended = self.run_command("scale", "900")
        self.assertEqual(ended.returncode, 3)
        self.assertIn("900 are more than", ended.stderr)

    def test_client_that_leaves(self) -> None:
        """Ctrl-C ends the command, without a word; the operation goes on."""
        running = self.master()
        reload = self.begin("reload")
        running.wait_for("reload has begun")
        reload.send_signal(signal.SIGINT)
        self.assertEqual(reload.communicate(timeout=DEADLINE), ("", ""))
        self.assertEqual(reload.returncode, 130)
        document = json.loads(self.run_command("status", "--json").stdout)
        self.assertEqual(document["operation"], "reload")
        for _ in range(3):
            running.signal(signal.SIGUSR1)
            self.run_command("status")  # so that no two signals become one
        running.wait_for("reload has ended")
        self.assertEqual(self.run_command("status").returncode, 0)

    def test_reader_that_leaves(self) -> None:
        """As `head` does."""
        running = self.master()
        reload = self.begin("reload")
        running.wait_for("reload has begun")
        assert reload.stdout is not None
        reload.stdout.close()
        running.signal(signal.SIGUSR1)
        assert reload.stderr is not None
        self.assertEqual(reload.stderr.read(), "")
        self.assertEqual(reload.wait(DEADLINE), 130)

    def test_stop(self) -> None:
        """The verdict comes although the master leaves, and nothing stays."""
        for words, text in ((["stop"], "graceful"), (["stop", "--quick"], "quick")):
            running = self.master()
            ended = self.run_command(*words)
            out = f"letting the workers go\ndone: {text}\n"
            self.assert_ended(ended, 0, out, "")
            self.assertEqual(running.wait(), 0)
            self.assertFalse(self.path().exists())

    def test_master_that_is_killed(self) -> None:
        """Nobody can say that it is done."""
        running = self.master()
        reload = self.begin("reload")
        running.wait_for("reload has begun")
        running.signal(signal.SIGUSR1)
        # Only then is it sure that the command knows that it has begun.
        assert reload.stdout is not None
        self.assertIn("ready", reload.stdout.readline())
        running.signal(signal.SIGKILL)
        out, err = reload.communicate(timeout=DEADLINE)
        self.assertEqual((reload.returncode, out), (1, ""))
        self.assertIn("the master has left before it gave a verdict", err)


class FindingTests(ControlCase):
    """Which cluster is meant."""

    def test_none(self) -> None:
        ended = self.run_command("status")
        self.assertEqual((ended.returncode, ended.stdout), (4, ""))
        self.assertIn(f"looked for */control.sock in {self.folder}", ended.stderr)

    def test_several(self) -> None:
        """They are listed; any of the ways to name one will do."""
        first, second = self.master("1-a"), self.master("2-b")
        ended = self.run_command("status")
        self.assertEqual((ended.returncode, ended.stdout), (4, ""))
        for name, running in (("1-a", first), ("2-b", second)):
            line = rf"{self.path(name)} +{running.process.pid} +scripted +yes\n"
            self.assertRegex(ended.stderr, line)
        self.assertIn("--socket PATH", ended.stderr)
        path = str(self.path("2-b"))
        ended = self.run_command("status", "--json", "--socket", path)
        self.assertEqual(json.loads(ended.stdout)["pid"], second.process.pid)
        self.environ["CLUSTERAPP_CONTROL"] = path
        ended = self.run_command("status", "--json")
        self.assertEqual(json.loads(ended.stdout)["pid"], second.process.pid)

    def test_after_a_crash(self) -> None:
        """A killed master is not found, and its socket is replaced by the next."""
        running = self.master()
        running.signal(signal.SIGKILL)
        running.wait()
        self.assertTrue(self.path().exists())
        self.assertEqual(self.run_command("status").returncode, 4)
        self.master()
        self.assertEqual(self.run_command("status").returncode, 0)

    def test_socket_in_use(self) -> None:
        """The second master ends with words, and the first one serves on."""
        running = self.master()
        second = Running(
            [sys.executable, str(SERVER), str(self.path())],
            cwd=self.folder,
            env={"PYTHONPATH": str(ROOT)},
        )
        self.addCleanup(second.close)
        self.assertNotEqual(second.wait(), 0)
        self.assertIn(f"{self.path()}: a running master listens there", second.text())
        self.assertTrue(is_alive(running.process.pid))
        self.assertEqual(self.run_command("status").returncode, 0)
