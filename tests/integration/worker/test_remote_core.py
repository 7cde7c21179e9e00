"""Two clusters, as on two machines: one uses the other's core over TLS."""

import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import trustme
from twisted.trial.unittest import SynchronousTestCase

from tests.integration.running import (
    APPS,
    DEADLINE,
    SCRIPTS,
    Running,
    RunningCluster,
    cluster,
)
from tests.ports import free_port

ENVIRONMENT = {"PYTHONPATH": str(APPS)}


class Papers:
    """Certificates in a folder: of an authority, and of both sides."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = trustme.CA()
        self.authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        self.issue("core", "localhost")
        self.issue("worker", "worker.example")

    def issue(self, name: str, host: str, authority: trustme.CA | None = None) -> None:
        """Write a certificate with its chain, and its key."""
        issued = (authority or self.authority).issue_cert(host)
        for part, blob in enumerate(issued.cert_chain_pems):
            blob.write_to_path(str(self.folder / f"{name}.pem"), append=part > 0)
        issued.private_key_pem.write_to_path(str(self.folder / f"{name}.key"))

    def __getitem__(self, name: str) -> str:
        """Return the path of a file."""
        return str(self.folder / name)


class RemoteCoreTests(SynchronousTestCase):
    """``--core https://…`` against ``--core-listen tls:…``."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.papers = Papers(Path(folder.name))
        self.port = free_port()

    @contextmanager
    def core(self, *flags: str, before: Sequence[str] = ()) -> Iterator[RunningCluster]:
        """Run the cluster that has the core."""
        papers = self.papers
        spec = (
            f"tls:{self.port}:interface=127.0.0.1:certificate={papers['core.pem']}"
            f":key={papers['core.key']}:ca={papers['ca.pem']}"
        )
        flags = ("--app", "shop:app", "--core-listen", spec, *flags)
        with cluster(*flags, workers=1, env=ENVIRONMENT, before=before) as running:
            yield running

    @contextmanager
    def edge(
        self, host: str = "localhost", shown: str | None = "worker"
    ) -> Iterator[RunningCluster]:
        """Run the cluster that has none, but workers that look for it."""
        flags = ["--app", "shop:app", "--core", f"https://{host}:{self.port}"]
        flags += ["--core-ca", self.papers["ca.pem"]]
        if shown is not None:
            flags += ["--core-cert", self.papers[f"{shown}.pem"]]
            flags += ["--core-key", self.papers[f"{shown}.key"]]
        with cluster(*flags, workers=1, env=ENVIRONMENT) as running:
            yield running

    def test_one_core_for_two_clusters(self) -> None:
        """Requests through either cluster are counted in the one core."""
        for where in ("master", "isolated"):
            with self.core("--core", where) as there, self.edge() as here:
                first = there.request("POST", "/orders")[2].split()
                second = here.request("POST", "/orders")[2].split()
                self.assertEqual((first[0], second[0]), (b"1", b"2"))
                self.assertEqual(first[1], second[1])

    def test_a_client_without_a_certificate(self) -> None:
        """Clients without a certificate of the authority are refused."""
        self.papers.issue("stranger", "worker.example", trustme.CA())
        with self.core() as there:
            for shown in (None, "stranger"):
                with self.edge(shown=shown) as here:
                    self.assertEqual(here.request("POST", "/orders")[0], 502)
            self.assertTrue(there.request("POST", "/orders")[2].startswith(b"1 "))

    def test_a_core_of_another_name(self) -> None:
        """A certificate for another name is refused before anything is sent."""
        self.papers.issue("core", "other.example")
        with self.core() as there, self.edge() as here:
            self.assertEqual(here.request("POST", "/orders")[0], 502)
            here.wait_for(
                r"the core failed at POST .* \(client 127\.0\.0\.1\): .*Verification"
            )
            self.assertTrue(there.request("POST", "/orders")[2].startswith(b"1 "))

    def test_a_core_that_is_not_there(self) -> None:
        """What cannot be connected to is waited for, then it is a 503."""
        with self.edge() as here:
            status, headers, _ = here.request("POST", "/orders")
            self.assertEqual((status, headers["Retry-After"]), (503, "1"))

    def test_a_flood_of_silent_connections(self) -> None:
        """Those of a few addresses cannot keep a worker at another one out."""
        # 256 descriptors are 64 places.
        limit = ("prlimit", "--nofile=256")
        with self.core(before=limit) as there, self.edge() as here:
            target = ("127.0.0.1", self.port)
            for number in range(120):
                source = (f"127.0.0.{2 + number % 3}", 0)
                silent = socket.create_connection(target, DEADLINE, source)
                self.addCleanup(silent.close)
            there.wait_for("to the core to make room: 64 have brought no request")
            begun = time.monotonic()
            self.assertEqual(here.request("POST", "/orders")[2][:2], b"1 ")
            self.assertLess(time.monotonic() - begun, 3)

    def test_files_that_cannot_be_used(self) -> None:
        """A wrong file is named when the cluster starts, in one line."""
        self.papers.issue("other", "worker.example")
        Path(self.papers["worker.key"]).write_bytes(
            Path(self.papers["other.key"]).read_bytes()
        )
        with self.assertRaises(AssertionError) as raised, self.edge():
            pass
        self.assertRegex(str(raised.exception), r"clusterapp: .*core_key.*worker\.key")

    def test_checking_the_files(self) -> None:
        """``--check-config`` reads them as well, those of a listening core too."""
        spec = f"tls:{self.port}:certificate={self.papers['core.pem']}"
        spec += f":key={self.papers['worker.key']}:ca={self.papers['ca.pem']}"
        command = (f"{SCRIPTS}/twistd", "clusterapp", "--check-config")
        checked = Running([*command, "--core-listen", spec], cwd=Path.cwd())
        self.addCleanup(checked.close)
        self.assertEqual(checked.wait(), 1)
        self.assertRegex(checked.text(), r"^clusterapp: core_listen .*worker\.key")
