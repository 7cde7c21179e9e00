"""TLS between a worker and a core, both ends in memory."""

import tempfile
from pathlib import Path
from typing import Any

import trustme
from cryptography.hazmat.primitives import serialization
from service_identity import VerificationError
from twisted.internet import ssl
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.test.iosim import FakeTransport, connect
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.errors import SettingsError
from clusterapp.http.upstream.upstream_tls import client_options, server_options


class End(Protocol):
    """One end of a connection, which writes down what it hears."""

    def __init__(self) -> None:
        self.received = b""
        self.lost: list[Failure] = []

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(b"hello")

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self.lost.append(reason)


class CertificateCase(SynchronousTestCase):
    """Authorities and certificates, in files."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="clusterapp-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.authority = trustme.CA()
        self.ca = self.write("ca.pem", self.authority.cert_pem.bytes())
        issued = self.authority.issue_cert("core.example.org")
        self.certificate, self.key = self.issued("core", issued)

    def write(self, name: str, *content: bytes) -> str:
        path = self.folder / name
        path.write_bytes(b"".join(content))
        return str(path)

    def issued(self, name: str, leaf: trustme.LeafCert) -> tuple[str, str]:
        """Write a certificate with its chain, and its key."""
        chain = [blob.bytes() for blob in leaf.cert_chain_pems]
        return (
            self.write(f"{name}.pem", *chain),
            self.write(f"{name}.key", leaf.private_key_pem.bytes()),
        )

    def worker(self, authority: trustme.CA) -> dict[str, str]:
        """Return a worker's certificate and key, signed by an authority."""
        certificate, key = self.issued("worker", authority.issue_cert("worker"))
        return {"certificate": certificate, "key": key}


class HandshakeTests(CertificateCase):
    """Which certificates worker and core accept of each other."""

    def shake(
        self,
        *,
        host: str = "core.example.org",
        ca: str | None = None,
        certificate: str | None = None,
        key: str | None = None,
        server_ca: str | None = None,
    ) -> tuple[End, End]:
        """Connect a worker to a core over TLS; return both ends."""
        client = client_options(
            host, ca=ca or self.ca, certificate=certificate, key=key
        )
        server = server_options(
            certificate=self.certificate, key=self.key, ca=server_ca
        )
        ends = End(), End()
        clock = Clock()
        far = self.tls(server, ends[1], clock, is_client=False)
        near = self.tls(client, ends[0], clock, is_client=True)
        pump = connect(far, FakeTransport(far, True), near, FakeTransport(near, False))
        for _ in range(3):  # what is written is gathered for one turn of the reactor
            clock.advance(0)
            pump.flush()
        return ends

    def tls(self, options: Any, end: End, clock: Clock, *, is_client: bool) -> Any:
        """Put TLS around one end."""
        factory = Factory.forProtocol(lambda: end)
        tls = TLSMemoryBIOFactory(options, is_client, factory, clock)
        return tls.buildProtocol(None)

    def assert_connected(self, ends: tuple[End, End]) -> None:
        for end in ends:
            self.assertEqual((end.received, end.lost), (b"hello", []))

    def assert_refused(self, ends: tuple[End, End]) -> list[BaseException | None]:
        """Nobody receives a thing; return the reasons of both."""
        for end in ends:
            self.assertEqual(end.received, b"")
        return [reason.value for end in ends for reason in end.lost]

    def test_trusted_core(self) -> None:
        self.assert_connected(self.shake())

    def test_name_of_another(self) -> None:
        """A certificate of the right authority for another host is not enough."""
        reasons = self.assert_refused(self.shake(host="elsewhere.example.org"))
        self.assertTrue(
            any(isinstance(reason, VerificationError) for reason in reasons), reasons
        )

    def test_core_of_another_authority(self) -> None:
        stranger = self.write("stranger.pem", trustme.CA().cert_pem.bytes())
        reasons = self.assert_refused(self.shake(ca=stranger))
        self.assertIn("certificate verify failed", str(reasons))

    def test_address_instead_of_a_name(self) -> None:
        self.certificate, self.key = self.issued(
            "address", self.authority.issue_cert("127.0.0.1", "::1")
        )
        for host in ("127.0.0.1", "::1"):
            self.assert_connected(self.shake(host=host))
        self.assert_refused(self.shake(host="127.0.0.2"))

    def test_worker_with_a_certificate(self) -> None:
        self.assert_connected(
            self.shake(server_ca=self.ca, **self.worker(self.authority))
        )

    def test_worker_without_a_certificate(self) -> None:
        """TLS 1.3 lets it believe for a moment that it is in; the core does not."""
        worker, core = self.shake(server_ca=self.ca)
        self.assertEqual((worker.received, core.received), (b"", b""))
        self.assertIn("did not return a certificate", str(core.lost[0].value))

    def test_worker_of_another_authority(self) -> None:
        _, core = self.shake(server_ca=self.ca, **self.worker(trustme.CA()))
        self.assertEqual(core.received, b"")
        self.assertIn("certificate verify failed", str(core.lost[0].value))

    def test_chains(self) -> None:
        """Either end may have a certificate that an authority below signed."""
        below = self.authority.create_child_ca()
        self.certificate, self.key = self.issued(
            "core", below.issue_cert("core.example.org")
        )
        self.assert_connected(self.shake(server_ca=self.ca, **self.worker(below)))


class FileTests(CertificateCase):
    """Files that cannot be used: one line names the setting and the file."""

    def server(self, **files: str) -> ssl.CertificateOptions:
        chosen = {"certificate": self.certificate, "key": self.key, "ca": self.ca}
        return server_options(**{**chosen, **files})

    def refused(self, **files: str) -> str:
        error = str(self.assertRaises(SettingsError, self.server, **files))
        self.assertNotIn("\n", error)
        [path] = files.values()
        self.assertTrue(error.startswith(f"core_listen = {path!r}: "), error)
        return error

    def test_missing(self) -> None:
        for name in ("certificate", "key", "ca"):
            path = str(self.folder / "no.pem")
            self.assertIn("No such file or directory", self.refused(**{name: path}))

    def test_empty(self) -> None:
        path = self.write("empty.pem")
        for name in ("certificate", "ca"):
            self.assertIn("no PEM certificate in it", self.refused(**{name: path}))
        self.assertIn("not the key", self.refused(key=path))

    def test_key_of_another(self) -> None:
        _, key = self.issued("other", self.authority.issue_cert("core.example.org"))
        self.assertIn(f"not the key of {self.certificate!r}", self.refused(key=key))

    def test_certificate_for_a_key(self) -> None:
        self.refused(key=self.certificate)
        self.refused(certificate=self.key)

    def test_damaged_certificate(self) -> None:
        text = Path(self.certificate).read_bytes().replace(b"M", b"!", 3)
        self.assertIn(
            "not a certificate", self.refused(certificate=self.write("bad.pem", text))
        )

    def test_key_with_a_passphrase(self) -> None:
        """Nobody is asked for one: there may be no terminal."""
        key = serialization.load_pem_private_key(Path(self.key).read_bytes(), None)
        locked = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
        self.refused(key=self.write("locked.key", locked))

    def test_forms_of_a_good_file(self) -> None:
        """No end of line at the end, lines of Windows, or words between."""
        good = Path(self.certificate).read_bytes()
        for text in (
            good.rstrip(b"\n"),
            good.replace(b"\n", b"\r\n"),
            b"Subject: core\n" + good + b"that was it\n",
            Path(self.key).read_bytes() + good,
        ):
            self.server(certificate=self.write("good.pem", text))

    def test_client(self) -> None:
        """A worker's settings have other names."""
        no = str(self.folder / "no.pem")
        for settings, name in (
            ({"ca": no, "certificate": None, "key": None}, "core_ca"),
            ({"ca": None, "certificate": no, "key": self.key}, "core_cert"),
            ({"ca": None, "certificate": self.certificate, "key": no}, "core_key"),
        ):
            error = self.assertRaises(
                SettingsError,
                client_options,
                "core.example.org",
                **settings,
            )
            self.assertTrue(str(error).startswith(f"{name} = {no!r}: "), error)

    def test_platforms_authorities(self) -> None:
        """Where no others are named."""
        client_options("core.example.org", ca=None, certificate=None, key=None)
