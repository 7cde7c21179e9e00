"""One certificate and its key in files: what is read, and what is refused."""

import os
import ssl
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat
from cryptography.x509.oid import NameOID
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.http.tls.pem import Certificate, Files, UnusableError, read
from tests.unit.http.tls.pem_files import (
    NOON,
    Papers,
    chain,
    key,
    serial,
    shake,
    shown_serial,
)

Secret = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


class PemCase(SynchronousTestCase):
    """A good certificate for shop.example.org, in files."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="clusterapp-")
        self.addCleanup(folder.cleanup)
        self.papers = Papers(Path(folder.name))
        self.leaf = self.papers.leaf("shop.example.org")
        self.files = self.write(self.leaf)

    def write(self, leaf: trustme.LeafCert, ca: Path | None = None) -> Files:
        return Files(
            self.papers.write("shop.pem", chain(leaf)),
            self.papers.write("shop.key", key(leaf)),
            ca,
        )

    def write_own(self, secret: Secret, *names: str) -> None:
        """Write a certificate that no authority has signed."""
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "shop")])
        today = datetime.fromtimestamp(NOON, UTC)
        certificate = (
            x509.CertificateBuilder(subject, subject, secret.public_key(), 1)
            .not_valid_before(today)
            .not_valid_after(today + timedelta(days=1))
            .add_extension(
                x509.SubjectAlternativeName([x509.DNSName(name) for name in names]),
                critical=False,
            )
            .sign(secret, hashes.SHA256())
        )
        self.papers.write("shop.pem", certificate.public_bytes(Encoding.PEM))
        self.papers.write("shop.key", pem(secret, serialization.NoEncryption()))


def pem(secret: Secret, encryption: serialization.KeySerializationEncryption) -> bytes:
    """Write a private key as PEM."""
    return secret.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


class FifoTests(PemCase):
    """A FIFO has no content before somebody writes: nobody waits for that."""

    def test_each_file(self) -> None:
        ca = self.papers.write("ca.pem", chain(self.leaf))
        for name in ("shop.pem", "shop.key", "ca.pem"):
            files = self.write(self.leaf, ca)
            path = ca.with_name(name)
            content = path.read_bytes()
            path.unlink()
            os.mkfifo(path)
            error = self.assertRaises(UnusableError, read, files)
            self.assertEqual(error.reason, "not a regular file")
            self.assertEqual(error.path, path)
            path.unlink()
            path.write_bytes(content)
        self.assertEqual(read(self.files).names, {"shop.example.org"})


class ReadTests(PemCase):
    """Files that can be used."""

    def test_what_is_known_of_it(self) -> None:
        """An address is no name: clients do not ask for one (RFC 6066 3)."""
        self.write(self.papers.leaf("shop.example.org", "*.example.com", "192.0.2.1"))
        found = read(self.files)
        self.assertEqual(found.names, {"shop.example.org", "*.example.com"})
        self.assertEqual(
            str(found),
            f"'{self.files.certificate}' for *.example.com, shop.example.org, "
            "valid until 2030-09-13 12:00 UTC",
        )

    def test_names_in_capitals(self) -> None:
        self.write_own(ec.generate_private_key(ec.SECP256R1()), "Shop.Example.ORG")
        self.assertEqual(read(self.files).names, {"shop.example.org"})

    def test_without_names(self) -> None:
        self.write(self.papers.leaf("192.0.2.1"))
        self.assertIn(" for no name, valid", str(read(self.files)))

    def test_chain_is_sent(self) -> None:
        """A client that knows only the authority at the top can verify it."""
        below = self.papers.authority.create_child_ca()
        self.write(below.issue_cert("shop.example.org"))
        client = self.papers.client()
        client.verify_mode = ssl.CERT_REQUIRED
        near, _ = shake(read(self.files).context, client)
        self.assertTrue(near.getpeercert())

    def test_one_file_for_both(self) -> None:
        """Certificate and key, in any order, with words between them."""
        for parts in (
            (chain(self.leaf), key(self.leaf)),
            (b"Subject: shop\n", key(self.leaf), b"and\n", chain(self.leaf)),
        ):
            path = self.papers.write("both.pem", b"".join(parts))
            near, _ = shake(read(Files(path, path)).context, self.papers.client())
            self.assertEqual(shown_serial(near), serial(self.leaf))

    def test_mark(self) -> None:
        """It changes with each file, with its rights, and with where links lead."""
        files = Files(self.files.certificate, self.files.key, self.papers.ca)
        marks = [files.mark()]
        for path in (files.certificate, files.key, self.papers.ca):
            self.papers.write(path.name, path.read_bytes())
            marks.append(files.mark())
        files.key.chmod(0o600)
        marks.append(files.mark())
        files.certificate.rename(files.certificate.with_name("elsewhere.pem"))
        marks.append(files.mark())
        files.certificate.symlink_to("elsewhere.pem")
        marks.append(files.mark())
        self.papers.write("elsewhere.pem", b"")  # what the link itself knows nothing of
        marks.append(files.mark())
        self.assertEqual(len(set(marks)), len(marks))
        self.assertEqual(files.mark(), marks[-1])

    def test_dates(self) -> None:
        self.write(self.papers.leaf("shop", begins=-1, ends=1))
        found = read(self.files)
        found.check_dates(NOON)
        self.assert_not_today(found, NOON + 2 * 86400, "expired at 2030-06-16 12:00")
        self.assert_not_today(found, NOON - 2 * 86400, "not valid before 2030-06-14")

    def assert_not_today(self, found: Certificate, now: float, reason: str) -> None:
        error = self.assertRaises(UnusableError, found.check_dates, now)
        self.assertTrue(error.reason.startswith(reason), error.reason)


class ContextTests(PemCase):
    """How connections are served."""

    def serve(self, ca: Path | None = None) -> ssl.SSLContext:
        return read(self.write(self.leaf, ca)).context

    def test_http_1_1_is_chosen(self) -> None:
        client = self.papers.client()
        client.set_alpn_protocols(["h2", "http/1.1"])
        _, far = shake(self.serve(), client)
        self.assertEqual(far.selected_alpn_protocol(), "http/1.1")

    def test_client_without_alpn(self) -> None:
        _, far = shake(self.serve(), self.papers.client())
        self.assertIsNone(far.selected_alpn_protocol())

    def test_versions(self) -> None:
        """TLS 1.2 and 1.3."""
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            client = self.papers.client()
            client.minimum_version = client.maximum_version = version
            _, far = shake(self.serve(), client)
            self.assertEqual(far.version(), version.name.replace("_", "."))

    def test_old_versions(self) -> None:
        client = self.papers.old_client()
        error = self.assertRaises(ssl.SSLError, shake, self.serve(), client)
        self.assertEqual(error.reason, "UNSUPPORTED_PROTOCOL")

    def test_options(self) -> None:
        """What lets a client make the server work, or guess, is off."""
        options = self.serve().options
        self.assertTrue(options & ssl.OP_NO_COMPRESSION)
        self.assertTrue(options & ssl.OP_NO_RENEGOTIATION)

    def test_client_with_a_certificate(self) -> None:
        mine = self.papers.authority.issue_cert("client")
        _, far = shake(self.serve(self.papers.ca), self.papers.client(mine))
        self.assertEqual(shown_serial(far), serial(mine))

    def test_client_without_a_certificate(self) -> None:
        stranger = trustme.CA().issue_cert("client")
        for shown, reason in (
            ((), "PEER_DID_NOT_RETURN_A_CERTIFICATE"),
            ((stranger,), "CERTIFICATE_VERIFY_FAILED"),
        ):
            client = self.papers.client(*shown)
            server = self.serve(self.papers.ca)
            error = self.assertRaises(ssl.SSLError, shake, server, client)
            self.assertEqual(error.reason, reason)


class RefusalTests(PemCase):
    """Files that cannot be used: the file is named, and what is wrong with it."""

    def assert_refused(self, files: Files, path: Path | None, reason: str) -> None:
        error = self.assertRaises(UnusableError, read, files)
        self.assertEqual((error.path, error.reason), (path, reason))
        self.assertEqual(str(error), f"{str(path)!r}: {reason}")

    def each(self, path: Path) -> list[Files]:
        """Put a file in the place of each."""
        good = self.files
        return [
            Files(path, good.key),
            Files(good.certificate, path),
            Files(good.certificate, good.key, path),
        ]

    def test_missing(self) -> None:
        path = self.papers.folder / "no.pem"
        for files in self.each(path):
            self.assert_refused(files, path, "No such file or directory")

    def test_unreadable(self) -> None:
        path = self.papers.folder
        for files in self.each(path)[:2]:
            self.assert_refused(files, path, "Is a directory")

    def test_without_what_it_is_for(self) -> None:
        """A file that is empty, one of another sort, and a damaged one."""
        damaged = chain(self.leaf).replace(b"M", b"!", 3)
        for content in (b"", b"junk", damaged):
            path = self.papers.write("bad.pem", content)
            certificate, secret, authorities = self.each(path)
            reason = "has no certificate that can be read"
            self.assert_refused(certificate, path, reason)
            self.assert_refused(authorities, path, reason)
            reason = "has no private key that can be read without a passphrase"
            self.assert_refused(secret, path, reason)

    def test_key_with_a_passphrase(self) -> None:
        """Nobody is asked for one: there may be no terminal."""
        locked = serialization.BestAvailableEncryption(b"secret")
        secret = ec.generate_private_key(ec.SECP256R1())
        self.assert_refused(
            self.files,
            self.papers.write("shop.key", pem(secret, locked)),
            "has no private key that can be read without a passphrase",
        )

    def test_key_of_another(self) -> None:
        """Of the same sort, or of another."""
        for sort in (trustme.KeyType.ECDSA, trustme.KeyType.RSA):
            other = self.papers.leaf("shop.example.org", key_type=sort)
            self.papers.write("shop.key", key(other))
            self.assert_refused(
                self.files,
                self.files.key,
                f"is not the key of {str(self.files.certificate)!r}",
            )

    def test_what_openssl_does_not_like(self) -> None:
        """A key that is too short for today."""
        self.write_own(rsa.generate_private_key(65537, 1024), "shop.example.org")
        self.assert_refused(
            self.files,
            self.files.certificate,
            f"OpenSSL refuses it with the key {str(self.files.key)!r}: "
            "ee key too small",
        )

    def test_change_while_it_is_read(self) -> None:
        """What was checked must be what is served."""
        marks = iter(("before", "after"))
        self.patch(Files, "mark", lambda _: next(marks))
        self.assert_refused(
            self.files, self.files.certificate, "changed while it was read"
        )
