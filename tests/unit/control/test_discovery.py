"""Finding the socket of the cluster that runs here."""

import json
import os
import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from unittest import skipUnless

from clusterapp.control import discovery
from clusterapp.control.discovery import living, state_folders, trusted_users
from clusterapp.errors import SeveralClustersError, UnreachableError
from clusterapp.listening.state_folder import StateFolder, default_state
from tests.unit.control.canned import DEADLINE, Canned, CannedCase, response
from tests.unit.fakes import descriptors

NAMED = "/named/by/the/operator.sock"


class DiscoveryCase(CannedCase):
    """A state folder, and clusters in it."""

    def setUp(self) -> None:
        super().setUp()
        self.warnings: list[str] = []
        self.state = self.folder / "state"
        self.environ = {"CLUSTERAPP_STATE": str(self.state)}

    def find(
        self, named: str | None, state: str | None, environ: Mapping[str, str]
    ) -> str:
        return discovery.find(named, state, environ, self.warnings.append)

    def living(self, *bases: Path) -> list[str]:
        return living(bases, trusted_users(None), self.warnings.append)

    def cluster(self, name: str) -> str:
        """Listen on the socket of a named cluster; return its path."""
        path = self.place(name)
        listening = socket.socket(socket.AF_UNIX)
        self.addCleanup(listening.close)
        listening.bind(path)
        listening.listen()
        return path

    def answering(self, name: str, *answers: bytes | None) -> str:
        """Serve canned answers on a named cluster's socket; return its path."""
        path = self.place(name)
        # What looks for it connects, and says nothing.
        server = Canned(path, b"", *answers)
        self.addCleanup(server.close)
        return path

    def leaving(self, name: str) -> None:
        """Listen on a socket that is found, but closes when its status is requested."""
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(self.place(name))
        listening.listen()
        listening.settimeout(DEADLINE)

        def serve() -> None:
            with listening:
                listening.accept()[0].close()
                asked, _ = listening.accept()
            asked.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        self.addCleanup(thread.join, DEADLINE)

    def place(self, name: str) -> str:
        folder = self.state / name
        folder.mkdir(parents=True)
        return str(folder / "control.sock")

    def killed(self, name: str) -> None:
        """Leave behind what a killed master leaves."""
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(self.place(name))


class FindTests(DiscoveryCase):
    """Which socket is used."""

    def test_the_only_one(self) -> None:
        path = self.cluster("12-abc")
        before = descriptors()
        self.assertEqual(self.find(None, None, self.environ), path)
        self.assertEqual(self.find(None, str(self.state), {}), path)
        self.assertEqual(descriptors(), before)

    def test_where_a_master_keeps_it(self) -> None:
        """A cluster's own folder is where it is looked for."""
        folder = StateFolder(self.state)
        self.addCleanup(folder.remove)
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(folder.socket("control"))
            listening.listen()
            found = self.find(None, None, self.environ)
            self.assertEqual(found, folder.socket("control"))

    def test_named(self) -> None:
        """What the operator names is used, whether it is there or not."""
        self.cluster("a")
        environ = {**self.environ, "CLUSTERAPP_CONTROL": "/elsewhere"}
        self.assertEqual(self.find(NAMED, None, environ), NAMED)
        self.assertEqual(self.find(NAMED, str(self.state), environ), NAMED)
        self.assertEqual(self.find(None, None, environ), "/elsewhere")

    def test_flags_are_stronger_than_the_environment(self) -> None:
        path = self.cluster("a")
        environ = {"CLUSTERAPP_CONTROL": NAMED, "CLUSTERAPP_STATE": "/elsewhere"}
        self.assertEqual(self.find(None, str(self.state), environ), path)

    def test_switched_off(self) -> None:
        """The variable that the cluster reads may say that there is no socket."""
        environ = {**self.environ, "CLUSTERAPP_CONTROL": "off"}
        error = self.assertRaises(UnreachableError, self.find, None, None, environ)
        self.assertIn("CLUSTERAPP_CONTROL is off", str(error))

    def test_dead_ones_do_not_count(self) -> None:
        path = self.cluster("b")
        self.killed("a")
        (self.state / "c").mkdir()
        Path(self.place("d")).touch()
        self.assertEqual(self.find(None, None, self.environ), path)

    def test_none(self) -> None:
        """It says where it has looked."""
        self.killed("a")
        error = self.assertRaises(UnreachableError, self.find, None, None, self.environ)
        self.assertIn(f"*/control.sock in {self.state}", str(error))
        self.assertEqual(error.exit_status, 4)

    def test_several(self) -> None:
        """Each cluster is asked for its status, and listed even without a response."""
        known = {"pid": 7, "name": "shop:app", "state": "running", "ready": True}
        first = self.answering("a", response(json.dumps({**known, "more": 1})))
        second = self.answering("b", b"")
        error = self.assertRaises(
            SeveralClustersError, self.find, None, None, self.environ
        )
        unknown = dict.fromkeys(known)
        self.assertEqual(
            error.clusters, [{"path": first, **known}, {"path": second, **unknown}]
        )
        self.assertEqual(error.exit_status, 4)
        self.assertIn("--socket PATH", str(error))

    def test_old_master(self) -> None:
        """One that is leaving after an upgrade stands in nobody's way."""
        self.answering("a", response('{"state": "stopping"}'))
        path = self.answering("b", response('{"state": "running"}'))
        self.assertEqual(self.find(None, None, self.environ), path)

    def test_old_master_without_workers(self) -> None:
        """It has nothing more to tell of then, and says so."""
        refused = response('{"error": "it does not run"}', "409 Conflict")
        self.answering("a", refused)
        path = self.answering("b", response('{"state": "running"}'))
        self.assertEqual(self.find(None, None, self.environ), path)

    def test_old_master_that_leaves_meanwhile(self) -> None:
        self.leaving("a")
        path = self.answering("b", response('{"state": "running"}'))
        self.assertEqual(self.find(None, None, self.environ), path)

    def test_several_that_stop(self) -> None:
        for name in ("a", "b"):
            self.answering(name, response('{"state": "stopping"}'))
        self.assertRaises(SeveralClustersError, self.find, None, None, self.environ)

    def test_one_by_two_ways(self) -> None:
        """Two paths to one socket are one cluster."""
        path = self.cluster("a")
        other = self.folder / "other"
        other.symlink_to(self.state)
        self.assertEqual(self.living(self.state, other), [path])


class FolderTests(DiscoveryCase):
    """Where clusters are looked for."""

    def setUp(self) -> None:
        super().setUp()
        self.root = self.folder / "root"
        for folder in ("run/user/7/clusterapp", "run/clusterapp", "tmp/clusterapp-8"):
            (self.root / folder).mkdir(parents=True)
        (self.root / "tmp/clusterapp-8x").mkdir()

    def folders(self, user: int, environ: dict[str, str]) -> list[str]:
        self.patch(os, "geteuid", lambda: user)
        return [str(each) for each in state_folders(None, environ, self.root)]

    def test_the_only_one(self) -> None:
        self.assertEqual(state_folders("/state", {}), [Path("/state")])

    def test_user(self) -> None:
        """One's own, whether a session's variables are there or not."""
        environ = {"XDG_RUNTIME_DIR": "/run/mine"}
        found = self.folders(7, environ)
        self.assertEqual(
            found,
            [
                "/run/mine/clusterapp",
                str(default_state({})),
                f"{self.root}/run/user/7/clusterapp",
            ],
        )

    def test_root(self) -> None:
        """Root finds the folders of all users."""
        found = self.folders(0, {})
        self.assertEqual(found[0], str(default_state({})))
        for folder in ("run/user/7/clusterapp", "run/clusterapp", "tmp/clusterapp-8"):
            self.assertIn(str(self.root / folder), found)
        self.assertNotIn(f"{self.root}/tmp/clusterapp-8x", found)

    def test_each_once(self) -> None:
        found = self.folders(7, {"XDG_RUNTIME_DIR": f"{self.root}/run/user/7"})
        self.assertEqual(len(found), len(set(found)))


OTHER = 65_534


class TrustTests(DiscoveryCase):
    """The owners whose sockets are used without being named."""

    def of_another(self, name: str) -> str:
        """Make a cluster's socket that another user owns; return its path."""
        path = self.cluster(name)
        os.chown(path, OTHER, OTHER)
        return path

    def test_own(self) -> None:
        path = self.cluster("a")
        self.assertEqual(self.living(self.state), [path])
        self.assertEqual(self.warnings, [])

    @skipUnless(os.geteuid() == 0, "only root can become another user")
    def test_others_that_listen(self) -> None:
        """
        The kernel reports the listening user, whatever the owner of the file.

        Root skips other users' sockets as all users do.
        """
        roots, path = self.cluster("a"), self.place("b")
        listening = socket.socket(socket.AF_UNIX)
        self.addCleanup(listening.close)
        listening.bind(path)
        os.seteuid(OTHER)
        try:
            listening.listen()
        finally:
            os.seteuid(0)
        self.assertEqual(self.living(self.state), [roots])
        [warning] = self.warnings
        self.assertIn(f"ignoring {path}: user {OTHER} listens", warning)
        self.assertIn("--socket PATH", warning)
        self.patch(os, "geteuid", lambda: OTHER)
        self.assertEqual(self.living(self.state), [roots, path])

    @skipUnless(os.geteuid() == 0, "only root can give files away")
    def test_others_that_own(self) -> None:
        """A socket, its folder, a link to one: each of them may be somebody else's."""
        roots = self.cluster("a")
        socket_of, folder_of = self.of_another("b"), self.cluster("c")
        os.chown(Path(folder_of).parent, OTHER, OTHER)
        link = Path(self.place("d"))
        link.symlink_to(roots)
        os.chown(link, OTHER, OTHER, follow_symlinks=False)
        self.assertEqual(self.find(None, None, self.environ), roots)
        passed_over = [line.split(":")[0] for line in self.warnings]
        expected = [f"ignoring {each}" for each in (socket_of, folder_of, link)]
        self.assertEqual(passed_over, expected)
        for line in self.warnings:
            self.assertIn(f"belongs to user {OTHER}", line)

    @skipUnless(os.geteuid() == 0, "only root can give files away")
    def test_folder_of_another(self) -> None:
        """Found, it is passed over, with all that it has; named, its owner is meant."""
        path = self.of_another("a")
        os.chown(self.state, OTHER, OTHER)
        self.assertEqual(self.living(self.state), [])
        self.assertIn(f"{self.state} belongs to user {OTHER}", self.warnings[0])
        os.chown(Path(path).parent, OTHER, OTHER)
        self.assertEqual(trusted_users(str(self.state)), {0, OTHER})
        users = trusted_users(str(self.state))
        self.assertEqual(living([self.state], users, self.fail), [path])

    def test_folder_that_others_can_write_to(self) -> None:
        """Unless nobody can replace what is not his own there."""
        path = self.cluster("a")
        self.state.chmod(0o777)
        self.assertEqual(self.living(self.state), [])
        self.assertIn(f"others can write to {self.state}", self.warnings[0])
        self.state.chmod(0o1777)
        self.assertEqual(self.living(self.state), [path])

    def test_no_sockets(self) -> None:
        """Whatever else bears the name is no cluster, and holds nothing up."""
        path = self.cluster("a")
        os.mkfifo(self.place("b"))
        Path(self.place("c")).mkdir()
        Path(self.place("d")).symlink_to("/dev/zero")
        Path(self.place("e")).symlink_to("nowhere")
        loop = Path(self.place("f"))
        loop.symlink_to(loop)
        os.mkfifo(self.state / "g")
        self.assertEqual(self.find(None, None, self.environ), path)
        fifo = self.folder / "fifo"
        os.mkfifo(fifo)
        self.assertEqual(self.living(fifo, self.folder / "nowhere"), [])
        self.assertEqual(self.warnings, [])

    def test_many_entries(self) -> None:
        """A folder is not read without end."""
        self.patch(discovery, "_MOST_ENTRIES", 3)
        for number in range(5):
            self.cluster(str(number))
        self.assertEqual(len(self.living(self.state)), 3)

    def test_a_full_queue(self) -> None:
        """A master whose event loop stands still is there all the same."""
        path = self.place("a")
        listening = socket.socket(socket.AF_UNIX)
        self.addCleanup(listening.close)
        listening.bind(path)
        listening.listen(0)
        waiting = socket.socket(socket.AF_UNIX)
        self.addCleanup(waiting.close)
        waiting.connect(path)
        self.assertEqual(self.living(self.state), [path])
