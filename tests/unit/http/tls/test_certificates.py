"""The certificates of a listener: how it starts, and their renewals."""

import ssl
from pathlib import Path

import trustme
from twisted.logger import LogLevel

from clusterapp.http.tls.certificates import certificates_of
from clusterapp.settings.listen import TlsFolderListen, TlsListen
from clusterapp.settings.model import Settings
from tests.unit.http.tls.pem_files import (
    CertificatesCase,
    chain,
    key,
    serial,
    shake,
    shown_serial,
)


class RenewalTests(CertificatesCase):
    """One certificate, and what becomes of its files."""

    def setUp(self) -> None:
        super().setUp()
        self.old = self.papers.pair("shop")
        self.path = self.folder / "shop.pem"
        self.key = self.folder / "shop.key"
        self.spec = TlsListen(
            port=443, certificate=str(self.path), key=str(self.key), ca=None
        )
        self.start()

    def assert_old_stays(self, path: Path, reason: str) -> None:
        """The old one is served, which is said once, when it has been so for 5 s."""
        for seconds in (1, 4):
            self.clock.advance(seconds)
            self.assertEqual(self.shown(), self.old)
        self.assertEqual(self.log.lines(), [])
        self.clock.advance(1)
        self.assertEqual(self.shown(), self.old)
        said = (
            f"cannot renew a certificate: {str(path)!r}: {reason}; still serving "
            f"{str(self.path)!r} for shop.example.org, "
            "valid until 2030-09-13 12:00 UTC"
        )
        self.assert_logged(LogLevel.error, said)
        self.assert_served(self.old)
        self.assert_logged(LogLevel.error, said)

    def test_no_renewal(self) -> None:
        """The same context, so that clients can resume their sessions."""
        context = self.certificates.context()
        self.assert_served(self.old)
        self.assertIs(self.certificates.context(), context)
        self.assertEqual(self.log.lines(), [])

    def test_one_certificate_for_all_names(self) -> None:
        """Nothing of Python's is called in the middle of a handshake."""
        self.assertIsNone(self.certificates.context().sni_callback)

    def test_renewal(self) -> None:
        """New connections get it, and the log tells what it is."""
        self.shown()
        new = self.papers.pair("shop", "shop.example.org", "example.org", ends=180)
        self.assert_served(new)
        self.assert_logged(
            LogLevel.info,
            f"now serving the certificate {str(self.path)!r} for example.org, "
            "shop.example.org, valid until 2030-12-12 12:00 UTC",
        )
        self.assert_logged(LogLevel.error)

    def test_renewals_one_after_another(self) -> None:
        for _ in range(3):
            self.clock.advance(1)
            self.assertEqual(self.papers.pair("shop"), self.shown())

    def test_it_looks_once_a_second(self) -> None:
        self.clock.advance(1)
        self.shown()
        new = self.papers.pair("shop")
        self.clock.advance(0.9)
        self.assertEqual(self.shown(), self.old)
        self.clock.advance(0.1)
        self.assertEqual(self.shown(), new)

    def test_clock_that_is_set_back(self) -> None:
        new = self.papers.pair("shop")
        self.clock.rightNow -= 3600
        self.assertEqual(self.shown(), new)

    def test_key_that_comes_later(self) -> None:
        """Tools replace one file after the other: that is no error."""
        leaf = self.papers.leaf("shop.example.org")
        self.papers.write("shop.pem", chain(leaf))
        for _ in range(4):
            self.clock.advance(1)
            self.assertEqual(self.shown(), self.old)
        self.papers.write("shop.key", key(leaf))
        self.assert_served(serial(leaf))
        self.assert_logged(LogLevel.error)

    def test_key_of_another(self) -> None:
        self.papers.write("shop.key", key(self.papers.leaf("shop.example.org")))
        self.assert_old_stays(self.key, f"is not the key of {str(self.path)!r}")

    def test_expired(self) -> None:
        self.papers.pair("shop", ends=-0.5)
        self.assert_old_stays(self.path, "expired at 2030-06-15 00:00 UTC")

    def test_missing(self) -> None:
        self.path.unlink()
        self.assert_old_stays(self.path, "No such file or directory")

    def test_unreadable(self) -> None:
        """A folder is what nobody can read as a file, root neither."""
        self.key.unlink()
        self.key.mkdir()
        self.assert_old_stays(self.key, "Is a directory")

    def test_half_a_file(self) -> None:
        self.path.write_bytes(self.path.read_bytes()[:100])
        self.assert_old_stays(self.path, "has no certificate that can be read")

    def test_not_valid_yet(self) -> None:
        """It is served as soon as it is valid; the files need not change."""
        leaf = self.papers.leaf("shop.example.org", begins=1)
        self.papers.write("shop.pem", chain(leaf))
        self.papers.write("shop.key", key(leaf))
        self.assert_old_stays(self.path, "not valid before 2030-06-16 12:00 UTC")
        self.clock.advance(86400)
        self.assert_served(serial(leaf))

    def test_good_one_after_a_bad_one(self) -> None:
        self.test_key_of_another()
        new = self.papers.pair("shop")
        self.assert_served(new)

    def test_old_files_after_a_bad_renewal(self) -> None:
        """The next bad one is another, even if it is the same."""
        self.key.rename(self.folder / "old")
        self.key.symlink_to("old")
        for target in ("old", "nowhere", "old", "nowhere"):
            self.key.unlink()
            self.key.symlink_to(target)
            self.assert_served(self.old)
        self.assertEqual(len(self.log.lines(LogLevel.error)), 2)

    def test_each_bad_renewal(self) -> None:
        """Another bad one gets 5 s of its own, and a line of its own."""
        self.test_key_of_another()
        self.papers.pair("shop", ends=-1)
        for seconds in (1, 4):
            self.clock.advance(seconds)
            self.shown()
        self.assertEqual(len(self.log.lines(LogLevel.error)), 1)
        self.assert_served(self.old)
        self.assertEqual(len(self.log.lines(LogLevel.error)), 2)

    def test_switched_links(self) -> None:
        """As certbot renews: links in one folder, files in another."""
        archive = self.folder / "archive"
        for name in ("one", "two"):
            new = self.papers.pair(f"archive/{name}", "shop.example.org")
            for path in (self.path, self.key):
                path.unlink()
                path.symlink_to(archive / f"{name}{path.suffix}")
            self.assert_served(new)

    def test_connections_that_are_open(self) -> None:
        """They keep what they have, and what they wait for comes."""
        near, far = shake(self.certificates.context(), self.client)
        self.assert_served(self.papers.pair("shop"))
        self.assertEqual(shown_serial(near), self.old)
        self.assertEqual(far.write(b"hello"), 5)
        self.assertEqual(near.read(5), b"hello")


class AuthorityTests(CertificatesCase):
    """The authorities that clients' certificates must be from."""

    def setUp(self) -> None:
        super().setUp()
        self.papers.pair("shop")
        self.spec = TlsFolderListen(
            port=443, certificates=str(self.folder), ca=str(self.ca)
        )
        self.start()

    def test_renewed(self) -> None:
        """The accepted client certificates change with the file of the authority."""
        authority = trustme.CA()
        old, new = (
            self.papers.client(each.issue_cert("client"))
            for each in (self.papers.authority, authority)
        )
        self.assert_let_in(old, new)
        self.ca.write_bytes(authority.cert_pem.bytes() + b"\n")
        self.clock.advance(1)
        self.assert_let_in(new, old)

    def assert_let_in(self, friend: ssl.SSLContext, other: ssl.SSLContext) -> None:
        context = self.certificates.context()
        shake(context, friend)
        self.assertRaises(ssl.SSLError, shake, context, other)

    def test_with_names(self) -> None:
        """Whichever certificate is shown."""
        self.papers.pair("mail")
        self.clock.advance(1)
        for name in ("mail.example.org", "shop.example.org", None):
            self.assertRaises(ssl.SSLError, self.shown, name)


class StartTests(CertificatesCase):
    """What a listener needs to start at all."""

    def setUp(self) -> None:
        super().setUp()
        self.spec = TlsListen(
            port=443,
            certificate=str(self.folder / "shop.pem"),
            key=str(self.folder / "shop.key"),
        )

    def test_missing(self) -> None:
        self.assert_refused(self.folder / "shop.pem", "No such file or directory")

    def test_key_of_another(self) -> None:
        self.papers.pair("shop")
        self.papers.write("shop.key", key(self.papers.leaf("shop.example.org")))
        self.assert_refused(
            self.folder / "shop.key",
            f"is not the key of {str(self.folder / 'shop.pem')!r}",
        )

    def test_expired(self) -> None:
        """A restart must not make it worse than it is."""
        old = self.papers.pair("shop", ends=-0.5)
        self.start()
        self.assert_logged(
            LogLevel.warn,
            "serving a certificate that is not valid: "
            f"'{self.folder}/shop.pem': expired at 2030-06-15 00:00 UTC",
        )
        self.assert_served(old)
        self.assertEqual(len(self.log.lines()), 1)
        self.assert_served(self.papers.pair("shop"))

    def test_listeners_of_a_cluster(self) -> None:
        """Each by its words; those without TLS are left out."""
        self.papers.pair("shop")
        pair = f"tls:0:certificate={self.folder}/shop.pem:key={self.folder}/shop.key"
        folder = f"tls:443:certificates={self.folder}"
        found = certificates_of(Settings(listen=("tcp:80", pair, folder)))
        self.assertEqual(found.keys(), {pair, folder})
