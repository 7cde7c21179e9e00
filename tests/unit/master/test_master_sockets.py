"""All that a master holds open for its children."""

import os
import socket
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from clusterapp.errors import ListenError
from clusterapp.master.master_sockets import Sockets
from clusterapp.settings.model import Settings
from tests.unit.fakes import descriptors


class SocketsTests(SynchronousTestCase):
    """A cluster's sockets, in a folder of the test's own."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="clusterapp-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.before = descriptors()

    def make(self, *listen: str, **others: object) -> Sockets:
        others.setdefault("state", str(self.folder / "state"))
        sockets = Sockets(Settings(listen=listen, **others))  # type: ignore[arg-type]
        self.addCleanup(sockets.close)
        return sockets

    def test_bind(self) -> None:
        path = str(self.folder / "a.sock")
        sockets = self.make("tcp:0:interface=127.0.0.1", f"unix:{path}")
        self.assertEqual(sockets.addresses, [])
        sockets.bind()
        tcp, unix = (each.socket for _, _, each in sockets.public_listeners)
        port = tcp.getsockname()[1]
        self.assertEqual(
            sockets.addresses, [f"http://127.0.0.1:{port}", f"unix:{path}"]
        )
        self.assertEqual(unix.family, socket.AF_UNIX)

    def test_bind_twice(self) -> None:
        """Twistd lets services bind before they start; other programs do not."""
        sockets = self.make("tcp:0:interface=127.0.0.1")
        sockets.bind()
        addresses = sockets.addresses
        sockets.bind()
        self.assertEqual(sockets.addresses, addresses)

    def test_same_words_twice(self) -> None:
        """Each is a port of its own, and workers get both."""
        spec = "tcp:0:interface=127.0.0.1"
        sockets = self.make(spec, spec)
        sockets.bind()
        ports = {
            each.socket.getsockname()[1] for _, _, each in sockets.public_listeners
        }
        self.assertEqual(len(ports), 2)

    def test_one_cannot_be_had(self) -> None:
        """Then none is kept, and it may be tried again."""
        spec = "tcp:0:interface=127.0.0.1"
        path = self.folder / "no" / "a.sock"
        sockets = self.make(spec, f"unix:{path}")
        self.assertRaises(ListenError, sockets.bind)
        self.assertEqual(descriptors(), self.before)
        path.parent.mkdir()
        sockets.bind()
        self.assertEqual(len(sockets.addresses), 2)

    def test_state(self) -> None:
        sockets = self.make("tcp:0:interface=127.0.0.1")
        self.assertIsNone(sockets.core_path)
        sockets.open_state()
        path = Path(sockets.core_path or "")
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        self.assertEqual(path.parents[1], self.folder / "state")
        self.assertEqual(sockets.core.keys(), {"core"})

    def test_cache(self) -> None:
        """It is there as long as the state folder, wherever the core is."""
        for core in ("master", "https://core.example.org"):
            sockets = self.make("tcp:0:interface=127.0.0.1", core=core)
            self.assertIsNone(sockets.cache(1))
            sockets.open_state()
            folder = Path(sockets.cache(1) or "")
            self.assertEqual(sockets.cache(1), str(folder))
            self.assertEqual(folder.parents[1], self.folder / "state")
            self.assertEqual(folder.stat().st_mode & 0o777, 0o700)
            sockets.close()
            self.assertIsNone(sockets.cache(1))

    def test_caches_of_generations(self) -> None:
        """Code may have other filters, which compiled templates depend on."""
        sockets = self.make("tcp:0:interface=127.0.0.1")
        sockets.open_state()
        folders = [Path(sockets.cache(number) or "") for number in (1, 2, 3)]
        self.assertEqual(len(set(folders)), 3)
        sockets.forget_caches(but=2)
        self.assertEqual([each.exists() for each in folders], [False, True, False])

    def test_state_is_in_its_usual_place(self) -> None:
        self.patch(os, "environ", {**os.environ, "XDG_RUNTIME_DIR": str(self.folder)})
        sockets = self.make("tcp:0:interface=127.0.0.1", state=None)
        sockets.open_state()
        self.assertTrue((sockets.core_path or "").startswith(f"{self.folder}/cluster"))

    def test_state_with_a_long_path(self) -> None:
        """Then no folder is left either."""
        state = self.folder / ("x" * 100)
        sockets = self.make("tcp:0:interface=127.0.0.1", state=str(state))
        self.assertRaises(ListenError, sockets.open_state)
        sockets.close()
        self.assertEqual(list(state.iterdir()), [])
        self.assertEqual(descriptors(), self.before)

    def test_core_on_another_machine(self) -> None:
        """It has no socket here."""
        sockets = self.make(
            "tcp:0:interface=127.0.0.1", core="https://core.example.org"
        )
        sockets.bind()
        sockets.open_state()
        self.assertIsNone(sockets.core_path)
        self.assertEqual(sockets.core, {})

    def test_port_of_a_worker_is_in_use(self) -> None:
        """It is bound while the program may still bind any, and nothing is kept."""
        taken = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(taken.close)
        port = taken.getsockname()[1]
        sockets = self.make("tcp:0:interface=127.0.0.1", worker_ports=port, workers=2)
        self.assertRaisesRegex(ListenError, f"tcp:{port}.* in use", sockets.bind)
        self.assertEqual(sockets.addresses, [])

    def test_more_workers_than_ports(self) -> None:
        sockets = self.make("tcp:0:interface=127.0.0.1", worker_ports=65535, workers=2)
        self.assertRaisesRegex(
            ListenError, "worker_ports = 65535: there is no port 65536", sockets.bind
        )

    def test_core_listener(self) -> None:
        """It is the core's, and no worker's."""
        spec = "tls:0:certificate=c.pem:key=k.pem:ca=a.pem:interface=127.0.0.1"
        sockets = self.make("tcp:0:interface=127.0.0.1", core_listen=(spec,))
        sockets.bind()
        self.assertEqual(sockets.core.keys(), {spec})
        self.assertEqual(len(sockets.public_listeners), 1)

    def test_close(self) -> None:
        """Nothing is left, and all can be had again."""
        path = self.folder / "a.sock"
        sockets = self.make(f"unix:{path}")
        for _ in range(2):
            sockets.bind()
            sockets.open_state()
            self.assertTrue(path.exists())
            sockets.close()
            self.assertFalse(path.exists())
            self.assertEqual(list((self.folder / "state").iterdir()), [])
            self.assertEqual(descriptors(), self.before)
