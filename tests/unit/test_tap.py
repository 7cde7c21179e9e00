"""``twistd clusterapp``, up to where it would begin to run."""

import atexit
import errno
import io
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, cast

from twisted.internet.error import ReactorNotRunning
from twisted.trial.unittest import SynchronousTestCase

from clusterapp import tap
from clusterapp.errors import NeverReadyError
from clusterapp.master.service import ClusterService
from clusterapp.master.signal_handlers import Signals
from clusterapp.master.systemd_notify import Notifying
from clusterapp.master.workers.orphan_reaper import ZombieReaper
from clusterapp.tap import Options, Program, makeService
from tests.unit.fakes import FakeReactor, descriptors
from tests.unit.master import master_apps

PLAIN = "tests.unit.master.master_apps:plain"


class TapCase(SynchronousTestCase):
    """A program in an empty folder, on a reactor that exists in memory only."""

    def setUp(self) -> None:
        master_apps.forget()
        folder = tempfile.TemporaryDirectory(prefix="clusterapp-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.reactor = FakeReactor()
        self.out, self.err = io.StringIO(), io.StringIO()
        self.patch(sys, "stdout", self.out)
        self.patch(sys, "stderr", self.err)
        self.before = descriptors()

    def program(
        self, twistd: dict[str, Any] | None = None, **settings: object
    ) -> Program:
        chosen = {
            "app": PLAIN,
            "workers": 1,
            "listen": f"unix:{self.folder / 'a.sock'}",
            "state": str(self.folder / "state"),
            "control": "off",
            **settings,
        }
        options = Options({})
        options.parent = cast("Options", twistd)
        options.parseOptions(
            [word for name, value in chosen.items() for word in _flag(name, value)]
        )
        return Program(self.reactor, options)

    def ended(self, call: Any) -> int:
        """Return the status with which a call ends the program."""
        status = self.assertRaises(SystemExit, call).code
        assert isinstance(status, int)
        return status


def _flag(name: str, value: object) -> list[str]:
    return [f"--{name.replace('_', '-')}", str(value)]


class MakeTests(TapCase):
    """From a command line to a program."""

    def options(self, *flags: str) -> Options:
        options = Options({})
        options.parseOptions([*flags, "--app", PLAIN, "--state", str(self.folder)])
        return options

    def test_options(self) -> None:
        """What the operator chose; nothing is bound or started yet."""
        service = makeService(self.options("--workers", "3"))
        assert isinstance(service, Program)
        [cluster] = [each for each in service if isinstance(each, ClusterService)]
        self.assertEqual(cluster.settings.workers, 3)
        self.assertEqual(cluster.settings.app, PLAIN)
        self.assertEqual(descriptors(), self.before)

    def test_check_config(self) -> None:
        """It says what it has looked at, and what it cannot look at."""
        self.addCleanup(os.chdir, Path.cwd())
        self.patch(sys, "path", [*sys.path])
        self.assertEqual(self.ended(lambda: self.options("--check-config")), 0)
        ok, checked, unchecked = self.out.getvalue().splitlines()
        self.assertEqual(ok, "configuration ok")
        self.assertIn(f"that {PLAIN} can be loaded in {Path.cwd()}", checked)
        self.assertIn("not checked", unchecked)
        self.assertEqual(descriptors(), self.before)

    def test_check_config_that_is_wrong(self) -> None:
        """One line, after the application's own traceback if there is one."""
        options = Options({})
        self.addCleanup(os.chdir, Path.cwd())
        self.patch(sys, "path", [*sys.path])
        words = ["--check-config", "--app", "tests.unit.no_shop:app"]
        self.assertEqual(self.ended(lambda: options.parseOptions(words)), 4)
        [line] = self.err.getvalue().splitlines()
        self.assertIn("clusterapp: cannot load the application", line)
        self.assertEqual(self.out.getvalue(), "")

    def test_parts(self) -> None:
        """Zombies are reaped by PID 1 only, where others leave them to it."""
        self.assertEqual(
            [type(each) for each in self.program()],
            [Signals, ClusterService, Notifying],
        )
        self.patch(os, "getpid", lambda: 1)
        self.assertEqual(
            [type(each) for each in self.program()],
            [Signals, ZombieReaper, ClusterService, Notifying],
        )


class StartTests(TapCase):
    """A program that starts, or does not."""

    def setUp(self) -> None:
        super().setUp()
        self.pid_file = self.folder / "twistd.pid"
        self.pid_file.write_text("1")

    def refused(self, step: str, **settings: object) -> tuple[int, list[str]]:
        """Return the status, and what is said; the pid file must be gone."""
        program = self.program({"pidfile": str(self.pid_file)}, **settings)
        status = self.ended(getattr(program, step))
        self.assertFalse(self.pid_file.exists())
        self.assertEqual(descriptors(), self.before)
        self.assertEqual(self.out.getvalue(), "")
        return status, self.err.getvalue().splitlines()

    def test_start(self) -> None:
        program = self.program({"pidfile": str(self.pid_file)})
        program.privilegedStartService()
        program.startService()
        self.assertEqual(len(self.reactor.children), 1)
        self.assertTrue(self.pid_file.exists())
        stopped = program.stopService()
        self.reactor.children[0].exit()
        self.successResultOf(stopped)
        self.assertEqual(descriptors(), self.before)

    def test_socket_that_cannot_be_had(self) -> None:
        status, lines = self.refused("privilegedStartService", listen="fd:999")
        self.assertEqual(status, 1)
        self.assertEqual(len(lines), 1)
        self.assertTrue(lines[0].startswith("clusterapp: descriptor 999"), lines)

    def test_state_folder_that_cannot_be_had(self) -> None:
        status, lines = self.refused("startService", state=str(self.pid_file / "a"))
        self.assertEqual(status, 1)
        self.assertEqual(len(lines), 1)

    def test_what_the_system_refuses(self) -> None:
        """It is a line, too; of descriptors it says how many there may be."""
        full = OSError(errno.ENOSPC, "No space left", "/run/a")
        for error, told in (
            (full, "cannot start: [Errno 28] No space left: '/run/a'"),
            (OSError(errno.EMFILE, "Too many"), "may have [0-9]+ .ulimit -n, Limit"),
        ):
            program = self.program({})

            def fail(why: OSError = error) -> None:
                raise why

            self.patch(program._cluster, "startService", fail)
            self.assertEqual(self.ended(program.startService), 1)
            line = self.err.getvalue().splitlines()[-1]
            self.assertRegex(line, "^clusterapp: .*" + told.replace("[E", "\\[E"))
        self.assertEqual(descriptors(), self.before)

    def test_no_pid_file(self) -> None:
        """twist(1) has none, nor has ``--pidfile=``."""
        for twistd in (None, {}, {"pidfile": ""}):
            program = self.program(twistd, listen="fd:999")
            self.assertEqual(self.ended(program.privilegedStartService), 1)

    def test_parent_of_a_daemon(self) -> None:
        """It waits for a word, and shows it to the operator."""
        hears, tells = os.pipe()
        self.addCleanup(os.close, hears)
        self.addCleanup(os.close, tells)
        program = self.program({"statusPipe": tells}, listen="unix:/nö/" + "a" * 90)
        self.assertEqual(self.ended(program.privilegedStartService), 1)
        heard = os.read(hears, 1000)
        self.assertTrue(heard.startswith(b"1 cannot listen on unix:/n\\xf6/"), heard)
        self.assertLessEqual(len(heard), 100)


class EndTests(TapCase):
    """A program whose cluster cannot go on."""

    def setUp(self) -> None:
        super().setUp()
        self.at_exit: list[tuple[Any, ...]] = []
        self.patch(atexit, "register", lambda *call: self.at_exit.append(call))
        self.stops = 0
        self.patch(self.reactor, "stop", self.stop)

    def stop(self) -> None:
        """Do as a reactor does."""
        self.stops += 1
        if self.stops > 1:
            raise ReactorNotRunning

    def run_reactor(self) -> None:
        """Mark the reactor as running, and call the functions of callWhenRunning."""
        self.reactor.running = True
        for call, arguments, named in self.reactor.whenRunningHooks:
            call(*arguments, **named)

    def test_exit_status(self) -> None:
        """The reactor is stopped, and the process leaves with the error's status."""
        self.program()._failed(NeverReadyError("all is lost"))
        self.assertEqual(self.stops, 0)
        self.run_reactor()
        self.assertEqual(self.stops, 1)
        self.assertEqual(self.at_exit, [(tap._exit, 3)])

    def test_pid_file(self) -> None:
        """It is gone when the command that waits for a daemon exits."""
        pid_file = self.folder / "twistd.pid"
        pid_file.write_text("1")
        hears, tells = os.pipe()
        self.addCleanup(os.close, hears)
        twistd = {"pidfile": str(pid_file)}
        program = self.program(twistd)
        program._command_waits = tells
        end, found = program._end_command, []

        def end_command(text: bytes) -> None:
            found.append(pid_file.exists())
            end(text)

        self.patch(program, "_end_command", end_command)
        program._failed(NeverReadyError("all is lost"))
        self.assertEqual(found, [False])
        self.assertEqual(os.read(hears, 1000), b"1 all is lost")
        # twistd does not look for it again.
        self.assertEqual(twistd["pidfile"], "")

    def test_exit_functions(self) -> None:
        """Those that were registered before run as well, and then it is over."""
        code = """
import atexit
from clusterapp import tap
atexit.register(print, "registered before")
atexit.register(tap._exit, 5)
"""
        ended = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        self.assertEqual((ended.returncode, ended.stderr), (5, ""))
        self.assertEqual(ended.stdout, "registered before\n")

    def test_signal_while_it_ends(self) -> None:
        """The reactor is not asked to stop twice."""
        program = self.program()
        program._failed(NeverReadyError("all is lost"))
        self.run_reactor()
        [signals, *_] = program
        assert isinstance(signals, Signals)
        signals._received(signal.SIGTERM)
        self.assertEqual(self.stops, 2)

    def test_plugin_finds_what_it_names(self) -> None:
        self.assertEqual(set(tap.__all__), {"Options", "makeService"})
