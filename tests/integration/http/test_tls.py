"""Workers that serve TLS, and certificates that are renewed while they do."""

import http.client
import re
import socket
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import trustme
from twisted.trial.unittest import SynchronousTestCase

from tests.integration.running import (
    APPS,
    DEADLINE,
    SCRIPTS,
    Running,
    RunningCluster,
    cluster,
    eventually,
)
from tests.unit.http.tls.pem_files import chain, key, serial, shown_serial

ENVIRONMENT = {"PYTHONPATH": str(APPS)}


class Client:
    """
    A client of a listener with TLS.

    :param running: the cluster.
    :param authority: the certificate authority that the client trusts.
    :param number: which of the listeners with TLS it asks.
    """

    def __init__(
        self, running: RunningCluster, authority: trustme.CA, number: int = 0
    ) -> None:
        found = re.findall(r"listening at https://127\.0\.0\.1:(\d+)", running.text())
        self.address = "127.0.0.1", int(found[number])
        self.tls = ssl.create_default_context()
        self.tls.set_alpn_protocols(["h2", "http/1.1"])
        authority.configure_trust(self.tls)

    def connect(self, name: str = "localhost") -> ssl.SSLSocket:
        """Connect to one of the cluster's names, whose certificate must be right."""
        plain = socket.create_connection(self.address, timeout=DEADLINE)
        try:
            return self.tls.wrap_socket(plain, server_hostname=name)
        except BaseException:
            plain.close()
            raise

    def shown(self, name: str = "localhost") -> int:
        """Ask on a connection of its own; give the certificate's serial number."""
        with self.connect(name) as connection:
            ask(connection)
            return shown_serial(connection)


def ask(connection: ssl.SSLSocket) -> bytes:
    """Get what must be there, and keep the connection."""
    connection.sendall(b"GET /pid HTTP/1.1\r\nHost: localhost\r\n\r\n")
    with closing(http.client.HTTPResponse(connection)) as response:
        response.begin()
        assert response.status == 200, response.status
        return response.read()


class Certificates:
    """
    A folder with a certificate for localhost.

    :param folder: where it is.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = trustme.CA()
        self.first = self.issue("default", "localhost")

    def issue(self, stem: str, name: str, *, days: int = 30) -> int:
        """Replace a certificate and its key; return its serial number."""
        ends = datetime.now(UTC) + timedelta(days=days)
        leaf = self.authority.issue_cert(name, not_after=ends)
        self.replace(f"{stem}.pem", chain(leaf))
        self.replace(f"{stem}.key", key(leaf))
        return serial(leaf)

    def replace(self, name: str, content: bytes) -> None:
        """Replace a file as a whole."""
        draft = self.folder / ".draft"
        draft.write_bytes(content)
        draft.rename(self.folder / name)

    @property
    def pair(self) -> str:
        """The listener with one certificate."""
        return (
            f"tls:0:interface=127.0.0.1:certificate={self.folder}/default.pem"
            f":key={self.folder}/default.key"
        )


class TlsCase(SynchronousTestCase):
    """Certificates that a test may replace."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="clusterapp-")
        self.addCleanup(folder.cleanup)
        self.certificates = Certificates(Path(folder.name))

    @contextmanager
    def running(self, spec: str) -> Iterator[tuple[RunningCluster, Client]]:
        """Run a cluster with one more listener, and make a client for it."""
        flags = ("--app", "shop:app", "--listen", spec)
        with cluster(*flags, workers=1, env=ENVIRONMENT) as running:
            yield running, Client(running, self.certificates.authority)


class ServingTests(SynchronousTestCase):
    """
    HTTP over TLS.

    :cvar certificates: what the cluster shows.
    :cvar shop: the serial number of another certificate, of a folder of them.
    :cvar running: a cluster with a listener for one certificate, one for a folder of
        them, and one for clients with certificates.
    """

    certificates: ClassVar[Certificates]
    shop: ClassVar[int]
    running: ClassVar[RunningCluster]

    @classmethod
    def setUpClass(cls) -> None:
        """Run it while there are tests."""
        super().setUpClass()
        folder = tempfile.TemporaryDirectory(prefix="clusterapp-")
        cls.certificates = Certificates(Path(cls.enterClassContext(folder)))
        cls.shop = cls.certificates.issue("shop", "shop.example.org")
        ca = cls.certificates.folder / "ca"
        cls.certificates.authority.cert_pem.write_to_path(str(ca))
        pair = cls.certificates.pair
        specs = (
            pair,
            f"tls:0:interface=127.0.0.1:certificates={cls.certificates.folder}",
            f"{pair}:ca={ca}",
        )
        flags = [word for spec in specs for word in ("--listen", spec)]
        cls.running = cls.enterClassContext(
            cluster("--app", "shop:app", *flags, workers=2, env=ENVIRONMENT)
        )

    def client(self, number: int = 0) -> Client:
        """Make a client of a listener."""
        return Client(self.running, self.certificates.authority, number)

    def test_requests(self) -> None:
        """One after another on one connection, as without TLS."""
        with self.client().connect() as connection:
            self.assertEqual(connection.selected_alpn_protocol(), "http/1.1")
            self.assertEqual(ask(connection), ask(connection))
            self.assertEqual(shown_serial(connection), self.certificates.first)
        self.assertEqual(self.running.request("GET", "/pid")[0], 200)

    def test_request_without_tls(self) -> None:
        """It gets no answer in plain text, and does no harm."""
        client = self.client()
        with socket.create_connection(client.address, timeout=DEADLINE) as plain:
            plain.sendall(b"GET /pid HTTP/1.1\r\nHost: localhost\r\n\r\n")
            self.assertNotIn(b"HTTP/", read_all(plain))
        self.assertEqual(client.shown(), self.certificates.first)

    def test_names(self) -> None:
        """A folder of certificates, as SNI asks for them."""
        client = self.client(1)
        self.assertEqual(client.shown("shop.example.org"), self.shop)
        self.assertEqual(client.shown("localhost"), self.certificates.first)
        self.assertRaises(ssl.SSLError, client.shown, "mail.example.org")

    def test_client_certificates(self) -> None:
        """With a ca, only clients with one of its certificates are served."""
        client = self.client(2)
        # With TLS 1.3 the refusal comes after the client's own last word.
        self.assertRaises(OSError, client.shown)
        self.certificates.authority.issue_cert("client").configure_cert(client.tls)
        self.assertEqual(client.shown(), self.certificates.first)


class RenewalTests(TlsCase):
    """Files that are replaced while workers serve."""

    def test_good_renewal(self) -> None:
        """New connections get it; one that is open goes on as it was."""
        with (
            self.running(self.certificates.pair) as (running, client),
            client.connect() as kept,
        ):
            before = ask(kept)
            new = self.certificates.issue("default", "localhost")
            eventually(lambda: client.shown() == new)
            running.wait_for(r"now serving the certificate .*default\.pem.* localhost")
            self.assertEqual(shown_serial(kept), self.certificates.first)
            self.assertEqual(ask(kept), before)

    def test_bad_renewal(self) -> None:
        """It is refused, the log says why, and the old one stays until a good one."""
        good = key(self.certificates.authority.issue_cert("localhost"))
        with self.running(self.certificates.pair) as (running, client):
            self.certificates.replace("default.key", good)
            self.assert_refused(running, client, r"default\.key': is not the key of")
            self.certificates.issue("default", "localhost", days=-1)
            self.assert_refused(running, client, r"default\.pem': expired at")
            new = self.certificates.issue("default", "localhost")
            eventually(lambda: client.shown() == new)

    def assert_refused(
        self, running: RunningCluster, client: Client, reason: str
    ) -> None:
        """New connections get the old certificate, before and after the log's error."""
        pattern = re.compile("cannot renew a certificate: .*" + reason)

        def is_said() -> bool:
            self.assertEqual(client.shown(), self.certificates.first)
            return pattern.search(running.text()) is not None

        eventually(is_said)
        self.assertEqual(client.shown(), self.certificates.first)


class MistakeTests(TlsCase):
    """Files that cannot be used when the cluster starts."""

    def test_files_that_cannot_be_used(self) -> None:
        """A wrong file is named in one line, when it is checked and at the start."""
        self.certificates.replace(
            "default.key", key(self.certificates.authority.issue_cert("localhost"))
        )
        for flags in (("--check-config",), ()):
            command = [f"{SCRIPTS}/twistd", "-n", "--pidfile=", "clusterapp", *flags]
            ended = Running(
                [*command, "--listen", self.certificates.pair], cwd=Path.cwd()
            )
            self.addCleanup(ended.close)
            self.assertEqual(ended.wait(), 1, ended.text())
            self.assertIn(
                f"clusterapp: listen = '{self.certificates.folder}/default.key':"
                " is not the key",
                ended.lines[-1],
            )


def read_all(connection: socket.socket) -> bytes:
    """Read until the other side has closed the connection, politely or not."""
    received = b""
    try:
        while piece := connection.recv(65536):
            received += piece
    except ConnectionResetError:
        pass
    return received
