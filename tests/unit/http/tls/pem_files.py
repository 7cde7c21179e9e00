"""Certificates in files, and what clients are shown of them."""

import ssl
import tempfile
import warnings
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import trustme
from cryptography import x509
from twisted.internet.task import Clock
from twisted.logger import LogLevel
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.errors import SettingsError
from clusterapp.http.tls.certificates import Certificates
from clusterapp.settings.listen import AnyTlsListen
from tests.unit.fakes import Log

#: When the tests of certificates take place, in seconds since the epoch.
NOON = datetime(2030, 6, 15, 12, tzinfo=UTC).timestamp()
_DAY = 86400


class Papers:
    """
    A folder with certificates of one authority.

    :param folder: an empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = trustme.CA()
        self.ca = self.write("ca", self.authority.cert_pem.bytes())

    def write(self, name: str, content: bytes) -> Path:
        """Write a file in the way of careful tools: whole, or not at all."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        draft = path.with_name(".draft")
        draft.write_bytes(content)
        draft.rename(path)
        return path

    def leaf(
        self,
        *names: str,
        begins: float = -1,
        ends: float = 90,
        key_type: trustme.KeyType = trustme.KeyType.ECDSA,
    ) -> trustme.LeafCert:
        """
        Issue a certificate.

        :param names: what it is for.
        :param begins: in how many days from NOON it becomes valid.
        :param ends: in how many days from NOON it expires.
        :param key_type: the sort of its key.
        """
        return self.authority.issue_cert(
            *names,
            not_before=datetime.fromtimestamp(NOON + begins * _DAY, UTC),
            not_after=datetime.fromtimestamp(NOON + ends * _DAY, UTC),
            key_type=key_type,
        )

    def pair(self, stem: str, *names: str, ends: float = 90) -> int:
        """Write STEM.pem and STEM.key; return the certificate's serial number."""
        leaf = self.leaf(*(names or (f"{stem}.example.org",)), ends=ends)
        self.write(f"{stem}.pem", chain(leaf))
        self.write(f"{stem}.key", key(leaf))
        return serial(leaf)

    def client(
        self, *shown: trustme.LeafCert, trusts: trustme.CA | None = None
    ) -> ssl.SSLContext:
        """Make a client's context, that shows a certificate if one is given."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # The certificates are for another day than that of the test's run.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        (trusts or self.authority).configure_trust(context)
        for leaf in shown:
            leaf.configure_cert(context)
        return context

    def old_client(self) -> ssl.SSLContext:
        """Make the context of a client that knows nothing newer than TLS 1.1."""
        context = self.client()
        context.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        return context


class CertificatesCase(SynchronousTestCase):
    """A listener with certificates, on a clock that only the test moves."""

    spec: AnyTlsListen
    certificates: Certificates

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="clusterapp-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name) / "certificates"
        self.folder.mkdir()
        self.papers = Papers(self.folder)
        # What the authority wrote there would be one of the certificates.
        self.ca = self.papers.ca.rename(Path(folder.name) / "ca.pem")
        self.clock = Clock()
        self.clock.advance(NOON)
        self.log = Log(self)
        self.client = self.papers.client()

    def start(self) -> None:
        self.certificates = Certificates(self.spec, self.clock.seconds)

    def shown(self, name: str | None = None) -> int:
        """Connect and return the serial number of the certificate that is shown."""
        return shown_serial(shake(self.certificates.context(), self.client, name)[0])

    def assert_served(self, expected: int, name: str | None = None) -> None:
        """It is what new connections get, now and for a while."""
        for seconds in (1, 1, 10, 1):
            self.clock.advance(seconds)
            self.assertEqual(self.shown(name), expected)

    def assert_logged(self, level: LogLevel, *lines: str) -> None:
        self.assertEqual(self.log.lines(level), list(lines))

    def assert_refused(self, path: Path, reason: str) -> None:
        error = self.assertRaises(SettingsError, self.start)
        self.assertEqual(str(error), f"listen = {str(path)!r}: {reason}")


def chain(leaf: trustme.LeafCert) -> bytes:
    """Return a certificate with its chain, as PEM."""
    return b"".join(blob.bytes() for blob in leaf.cert_chain_pems)


def key(leaf: trustme.LeafCert) -> bytes:
    """Return a certificate's key, as PEM."""
    return leaf.private_key_pem.bytes()


def serial(leaf: trustme.LeafCert) -> int:
    """Return a certificate's serial number."""
    return x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes()).serial_number


def shown_serial(connection: ssl.SSLObject | ssl.SSLSocket) -> int:
    """Return the serial number of the certificate that the other side showed."""
    shown = connection.getpeercert(binary_form=True)
    assert shown is not None
    return x509.load_der_x509_certificate(shown).serial_number


def shake(
    server: ssl.SSLContext, client: ssl.SSLContext, name: str | None = None
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """
    Perform a TLS handshake in memory.

    :param name: the name in the client's SNI; None for no SNI.
    :return: the client's side and the server's.
    :raise ssl.SSLError: if one side does not accept the other.
    """
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(down, up, server_hostname=name)
    far = server.wrap_bio(up, down, server_side=True)
    # A round brings each side's words to the other; TLS 1.2 takes two.
    for _ in range(3):
        _step(near.do_handshake)
        _step(far.do_handshake)
    return near, far


def _step(step: Callable[[], object]) -> None:
    with suppress(ssl.SSLWantReadError):
        step()
