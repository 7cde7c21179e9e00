"""What the commands do with wrong settings and with applications that fail."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.running import (
    DEADLINE,
    SCRIPTS,
    Running,
    RunningCluster,
    clean_environment,
    cluster,
    wait_until_gone,
)

TWISTD = (f"{SCRIPTS}/twistd", "-n")
DAEMON = (f"{SCRIPTS}/twistd",)
COMMANDS = (TWISTD, (f"{SCRIPTS}/twist",), (sys.executable, "-m", "twisted"))

#: Runs a command whose stderr is closed.
CLOSING = "import os, sys; os.close(2); os.execv(sys.argv[1], sys.argv[1:])"


def run(
    *command: str, cwd: str | None = None, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run a command that is expected to end by itself."""
    return subprocess.run(
        command,
        cwd=cwd,
        env={**clean_environment(), **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )


class MistakeTests(SynchronousTestCase):
    """A mistake is one line that names it; nothing is started."""

    def assert_one_line(
        self, ended: subprocess.CompletedProcess[str], *facts: str
    ) -> None:
        """Check status 1 and one line on stderr with these facts in it."""
        self.assertEqual(ended.returncode, 1, ended)
        self.assertEqual(ended.stdout, "")
        (line,) = ended.stderr.splitlines()
        self.assertTrue(line.startswith("clusterapp: "), line)
        for fact in facts:
            self.assertIn(fact, line)

    def test_wrong_values(self) -> None:
        """The setting, the value and the source are named, by each command."""
        for command in COMMANDS:
            ended = run(*command, "clusterapp", "--workers", "four")
            self.assert_one_line(ended, "workers", "'four'", "--workers")

    def test_unknown_names(self) -> None:
        """A typo is an error wherever it stands."""
        for command in COMMANDS:
            ended = run(*command, "clusterapp", "--wrokers", "4")
            self.assert_one_line(ended, "wrokers", "--workers")
        ended = run(*TWISTD, "clusterapp", CLUSTERAPP_WROKERS="4")
        self.assert_one_line(ended, "CLUSTERAPP_WROKERS")
        Path("clusterapp.toml").write_text("wrokers = 4\n")
        self.assert_one_line(run(*TWISTD, "clusterapp"), "wrokers", "clusterapp.toml")

    def test_the_sources_in_their_order(self) -> None:
        """What is printed is what is used, and where it came from."""
        Path("clusterapp.toml").write_text("workers = 2\ngraceful_timeout = 7\n")
        ended = run(
            *(*TWISTD, "clusterapp", "--workers", "4", "--print-config"),
            CLUSTERAPP_WORKERS="3",
            CLUSTERAPP_BOOT_TIMEOUT="11",
        )
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        self.assertRegex(ended.stdout, r"(?m)^workers +4 +--workers$")
        self.assertRegex(
            ended.stdout, r"(?m)^boot_timeout +11.*CLUSTERAPP_BOOT_TIMEOUT"
        )
        self.assertRegex(ended.stdout, r"(?m)^graceful_timeout +7.*clusterapp\.toml")
        self.assertRegex(ended.stdout, r"(?m)^core +master +default$")

    def test_check_config(self) -> None:
        """Settings and application are checked, and nothing is started."""
        for command in (*COMMANDS, DAEMON):
            ended = run(*command, "clusterapp", "--check-config")
            self.assertEqual((ended.returncode, ended.stderr), (0, ""))
            self.assertTrue(ended.stdout.startswith("configuration ok\n"), ended)
        self.assertEqual(list(Path().iterdir()), [])

    def test_check_config_of_what_is_never_ready(self) -> None:
        """It may be scaled, so it is only a warning."""
        wanted = ("--workers", "2", "--min-ready", "9")
        ended = run(*TWISTD, "clusterapp", "--check-config", *wanted)
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        self.assertIn("warning: --min-ready 9 is more than the 2 workers", ended.stdout)

    def test_check_config_in_another_folder(self) -> None:
        """The application is looked for where workers would look."""
        release = Path("releases/7")
        release.mkdir(parents=True)
        Path("current").symlink_to(release)
        (release / "elsewhere.py").write_text(
            "import helper_beside\nfrom klein import Klein\napp = Klein()\n"
        )
        (release / "helper_beside.py").touch()
        flags = ("clusterapp", "--check-config", "--app", "elsewhere:app")
        ended = run(*TWISTD, *flags, "--working-folder", "current")
        self.assertEqual((ended.returncode, ended.stderr), (0, ""), ended)
        self.assertIn(f"loaded in {release.absolute()}", ended.stdout)
        self.assertEqual(run(*TWISTD, *flags).returncode, 4)
        ended = run(*TWISTD, *flags, "--working-folder", "nowhere")
        self.assert_one_line(ended, "working folder", "nowhere is not there")

    def test_check_config_beside_a_cluster(self) -> None:
        """It takes nothing that the cluster has, its pid file and sockets included."""
        flags = ("clusterapp", "--listen", "unix:public.sock", "--state", "state")
        public = ("--listen", "tcp:0:interface=127.0.0.1")
        command = [*TWISTD, *flags, *public, "--workers", "1"]
        running = RunningCluster(command, workers=1, cwd=Path.cwd())
        try:
            running.started()
            found = sorted(map(str, Path().rglob("*")))
            self.assertIn("twistd.pid", found)
            for check in (TWISTD, DAEMON):
                ended = run(*check, *flags, "--check-config")
                self.assertEqual((ended.returncode, ended.stderr), (0, ""))
            self.assertEqual(sorted(map(str, Path().rglob("*"))), found)
        finally:
            running.close()

    def test_a_port_in_use(self) -> None:
        """What cannot be bound is said in one line, with status 1."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            spec = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
            for command in COMMANDS:
                ended = run(*command, "clusterapp", "--listen", spec)
                self.assertEqual(ended.returncode, 1)
                printed = ended.stdout + ended.stderr
                expected = (
                    f"clusterapp: cannot listen on {spec}: Address already in use"
                )
                self.assertIn(expected, printed)
                self.assertNotIn("Traceback", printed)
        self.assertEqual(list(Path().glob("*.pid")), [])


class DaemonTests(SynchronousTestCase):
    """twistd without ``-n``: the command ends when the start has gone well or not."""

    def test_a_good_start(self) -> None:
        """The command ends with 0 when it serves; the pid file stops the daemon."""
        daemon = (f"{SCRIPTS}/twistd", "clusterapp", "--workers", "1")
        flags = ("--listen", "unix:public.sock", "--state", "state")
        self.assertEqual(run(*daemon, *flags).returncode, 0)
        pid = int(Path("twistd.pid").read_text())
        self.assertIn("worker 0 is ready", Path("twistd.log").read_text())
        os.kill(pid, signal.SIGTERM)
        wait_until_gone(pid)
        self.assertFalse(Path("twistd.pid").exists())
        self.assertEqual(list(Path("state").iterdir()), [])

    def test_a_bad_start(self) -> None:
        """The command ends with 1 and says why, and leaves no pid file."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            spec = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
            ended = run(f"{SCRIPTS}/twistd", "clusterapp", "--listen", spec)
        self.assertEqual(ended.returncode, 1)
        self.assertIn(f"cannot listen on {spec}", ended.stderr)
        self.assertFalse(Path("twistd.pid").exists())

    def test_a_long_error(self) -> None:
        """All of it is there, as without a daemon, and in the log."""
        name = "missing_" * 20
        Path("shop.py").write_text(f"import {name}\n")
        ended = run(*DAEMON, "clusterapp", "--app", "shop:app", "--state", "state")
        self.assertEqual(ended.returncode, 1)
        told = "clusterapp: cannot load the application 'shop:app': importing"
        self.assertIn(told, ended.stderr)
        self.assertIn(f"    import {name}\n", ended.stderr)
        self.assertTrue(f"No module named '{name}'\n" in ended.stderr, ended.stderr)
        self.assertIn("as said above", ended.stderr)
        self.assertIn(told.partition(" ")[2], Path("twistd.log").read_text())
        self.assertFalse(Path("twistd.pid").exists())

    def test_a_start_without_stderr(self) -> None:
        """Whatever has its number by then is not written to; the log has the error."""
        command = (*DAEMON, "clusterapp", "--listen", "unix:/nowhere/a.sock")
        closed = (sys.executable, "-c", CLOSING, *command)
        ended = run(*closed)
        self.assertEqual(ended.returncode, 1)
        self.assertEqual(ended.stdout, "")
        log = Path("twistd.log").read_text()
        self.assertEqual(log.count("clusterapp: cannot listen on unix:/nowhere/"), 1)


class SystemTests(SynchronousTestCase):
    """What the system refuses is one line as well, whatever it is that asks."""

    def assert_told(self, *command: str, **facts: str) -> None:
        """Each way to start tells the whole of it, with status 1."""
        for mode in ((), ("-n",)):
            words = [facts.get("twistd", ""), *mode, "clusterapp", *command]
            ended = run(*facts["before"].split(), *DAEMON, *filter(None, words))
            told = ended.stdout + ended.stderr
            self.assertEqual(ended.returncode, 1, told)
            self.assertIn(f"clusterapp: {facts['line']}", told)
            self.assertIn(facts.get("reason", ""), told)
            self.assertNotIn("Traceback", told)
            self.assertEqual(list(Path().glob("*.pid")), [])

    def test_log_and_pid_file(self) -> None:
        """They are twistd's, which would write a traceback, or 100 bytes of it."""
        for flag, what in (("logfile", "log"), ("pidfile", "pid file")):
            self.assert_told(
                "--check-config",
                before="",
                twistd=f"--{flag}=/nowhere/a",
                line=f"cannot write the {what} (--{flag}) /nowhere/a: No such file",
            )

    def test_no_descriptors(self) -> None:
        """What they are missing for is said, wherever it is."""
        self.assert_told(
            *("--listen", "unix:a.sock", "--state", "state", "--workers", "64"),
            before="prlimit --nofile=12",
            line="cannot ",
            reason="Too many open files",
        )

    def test_a_low_port(self) -> None:
        """Without the right to bind a low port, the error names the missing right."""
        without = "setpriv --bounding-set=-net_bind_service"
        if os.geteuid() != 0:
            without = "env"
        elif not shutil.which("setpriv"):
            raise AssertionError("setpriv(1) of util-linux is needed")
        self.assert_told(
            *("--listen", "tcp:79:interface=127.0.0.1", "--state", "state"),
            before=without,
            line="cannot listen on tcp:79:interface=127.0.0.1: Permission denied; low",
        )


class BrokenApplicationTests(SynchronousTestCase):
    """What is said of an application that cannot be served."""

    def broken(self, code: str, *flags: str) -> tuple[int, str]:
        """Start an application; return the exit status and all that was printed."""
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "broken.py").write_text(code)
            running = Running(
                [
                    *(*TWISTD, "--pidfile=", "clusterapp", "--app", "broken:app"),
                    *("--workers", "2", "--listen", "tcp:0:interface=127.0.0.1"),
                    *("--state", f"{folder}/state", *flags),
                ],
                cwd=Path(folder),
            )
            try:
                status = running.wait(deadline=60)
                left = list(Path(folder).glob("state/*"))
                self.assertEqual(left, [])
                return status, running.text()
            finally:
                running.close()

    def test_import_errors(self) -> None:
        """The traceback is shown once, not once per worker; the status is 4."""
        for core in ("master", "isolated"):
            status, text = self.broken("import nosuchmodule\n", "--core", core)
            self.assertEqual(status, 4, text)
            self.assertEqual(text.count("    import nosuchmodule"), 1, text)
            self.assertEqual(text.count("Traceback"), 1, text)
            self.assertIn("cannot load the application 'broken:app'", text)

    def test_start_hooks_that_fail(self) -> None:
        """A worker whose start hook fails has not booted; the status is 3."""
        code = """
from clusterapp import Application
app = Application()
@app.on_start
async def hook():
    raise RuntimeError("no database")
"""
        status, text = self.broken(code)
        self.assertEqual(status, 3, text)
        self.assertEqual(text.count("Traceback"), 1, text)
        self.assertIn(
            "no worker ever became ready"
            " (the start hook broken.hook failed: RuntimeError: no database)",
            text,
        )

    def test_core_start_hooks_that_fail(self) -> None:
        """So it is for the core, wherever it runs."""
        code = """
from clusterapp import Application
app = Application()
@app.core.on_start
def hook():
    raise RuntimeError("no database")
"""
        for core in ("master", "isolated"):
            status, text = self.broken(code, "--core", core)
            self.assertEqual(status, 3, text)
            self.assertEqual(text.count("Traceback"), 1, text)
            self.assertIn(
                "the start hook broken.hook failed: RuntimeError: no database", text
            )
            once = "the core cannot start: the start hook"
            again = "core is started again in"
            self.assertEqual(
                (once in text, again in text), (core == "master", core != "master")
            )

    def test_a_core_that_starts_slowly(self) -> None:
        """Requests for it are told to come again, and it serves when it is ready."""
        code = """
from twisted.internet import reactor
from twisted.internet.task import deferLater
from clusterapp import Application
app = Application()
@app.route("/")
def root(request):
    return "worker"
@app.core.on_start
def hook():
    return deferLater(reactor, 7)
@app.core.route("/core")
def core(request):
    return "core"
"""
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "slowcore.py").write_text(code)
            flags = ("--app", "slowcore:app")
            with cluster(*flags, cwd=Path(folder), workers=1) as running:
                self.assertEqual(running.get("/"), b"worker")
                status, headers, _ = running.request("GET", "/core")
                self.assertEqual((status, headers["Retry-After"]), (503, "1"))
                self.assertEqual(running.get("/core"), b"core")
