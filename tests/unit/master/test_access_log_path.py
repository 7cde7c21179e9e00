"""What a master tells its workers of the access log."""

import os
from pathlib import Path

from clusterapp.errors import SettingsError
from tests.unit.master.masters import MasterCase


class AccessLogTests(MasterCase):
    """A master with an access log, whose workers exist in memory only."""

    def test_none(self) -> None:
        for child in self.start():
            self.assertIsNone(child.bootstrap["access_log"])
        self.finish()

    def test_path(self) -> None:
        """It is the master's folder that it starts from, wherever workers go."""
        here = Path.cwd()
        self.addCleanup(os.chdir, here)
        os.chdir(self.folder)
        path = self.folder / "access.log"
        for child in self.start(access_log="access.log"):
            self.assertEqual(child.bootstrap["access_log"], str(path))
        self.assertEqual(path.read_bytes(), b"")
        self.finish()

    def test_what_is_in_the_file_stays(self) -> None:
        path = self.folder / "access.log"
        path.write_text("a line\n")
        self.start(access_log=str(path))
        self.finish()
        self.assertEqual(path.read_text(), "a line\n")

    def test_file_that_cannot_be_opened(self) -> None:
        """That is said before any process is started."""
        path = self.folder / "missing" / "access.log"
        error = self.assertRaises(SettingsError, self.start, access_log=str(path))
        self.assertEqual(
            str(error),
            f"access_log = {str(path)!r}: cannot be opened for appending:"
            " No such file or directory",
        )
        self.assertEqual(self.reactor.children, [])
        self.assert_nothing_left()

    def test_stdout(self) -> None:
        """Workers inherit the master's; their own leads into the master's log."""
        for child in self.start(access_log="-"):
            self.assertEqual(child.started.child_fds[1], "r")
            number = child.bootstrap["access_log"]
            self.assertEqual(child.started.child_fds[number], 1)
            self.assertNotIn(number, child.bootstrap["sockets"].values())
        self.finish()

    def test_stdout_that_is_closed(self) -> None:
        fstat = os.fstat

        def closed(descriptor: int) -> os.stat_result:
            return fstat(-1 if descriptor == 1 else descriptor)

        self.patch(os, "fstat", closed)
        error = self.assertRaises(SettingsError, self.start, access_log="-")
        self.assertIn("access_log = '-': ", str(error))
        self.assert_nothing_left()

    def test_core_has_none(self) -> None:
        """What it answers are requests of workers, which note them."""
        core, worker, _ = self.start(core="isolated", access_log="-")
        self.assertEqual(core.bootstrap["role"], "core")
        self.assertNotIn(1, core.started.child_fds.values())
        self.assertIn(1, worker.started.child_fds.values())
        self.finish()

    def test_core_opens_no_file(self) -> None:
        path = str(self.folder / "access.log")
        core, worker, _ = self.start(core="isolated", access_log=path)
        self.assertIsNone(core.bootstrap["access_log"])
        self.assertEqual(worker.bootstrap["access_log"], path)
        self.finish()

    def test_reopening(self) -> None:
        """Every worker is told; an embedding program may ask for it."""
        children = self.start()
        self.service.reopen_logs()
        self.reactor.flush()
        self.assertEqual([child.heard for child in children], [["reopen"]] * 2)
        self.finish()

    def test_reopening_while_nothing_runs(self) -> None:
        self.make().reopen_logs()
