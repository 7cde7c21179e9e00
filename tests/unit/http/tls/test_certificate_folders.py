"""The certificates in a listener's folder: chosen by SNI, coming and going."""

import shutil

from twisted.logger import LogLevel

from clusterapp.settings.listen import TlsFolderListen
from tests.unit.http.tls.pem_files import CertificatesCase, chain, key, serial, shake


class FolderCase(CertificatesCase):
    """A listener with a folder."""

    def setUp(self) -> None:
        super().setUp()
        self.spec = TlsFolderListen(port=443, certificates=str(self.folder))


class NameTests(FolderCase):
    """Which certificate a client gets."""

    def test_names(self) -> None:
        """Those in the certificate count, not those of its files."""
        shop = self.papers.pair("b", "shop.example.org", "www.example.org")
        mail = self.papers.pair("a", "mail.example.org")
        self.start()
        for name, expected in (
            ("shop.example.org", shop),
            ("WWW.example.org", shop),
            ("mail.example.org", mail),
        ):
            self.assertEqual(self.shown(name), expected, name)

    def test_wildcards(self) -> None:
        """They stand for one label, and an exact name is before them."""
        first = self.papers.pair("a", "first.example.net")
        wild = self.papers.pair("b", "*.example.org", ends=99)
        exact = self.papers.pair("c", "mail.example.org")
        self.start()
        for name, expected in (
            ("shop.example.org", wild),
            ("mail.example.org", exact),
            ("example.org", first),
            ("a.shop.example.org", first),
        ):
            self.assertEqual(self.shown(name), expected, name)

    def test_without_a_known_name(self) -> None:
        """The first by its file's name."""
        self.papers.pair("b")
        first = self.papers.pair("a")
        self.start()
        for name in (None, "elsewhere.example.org", "org", "192.0.2.1"):
            self.assertEqual(self.shown(name), first)

    def test_default(self) -> None:
        """A certificate of that name is before the first."""
        self.papers.pair("a")
        default = self.papers.pair("default")
        self.start()
        self.assertEqual(self.shown(), default)

    def test_default_as_certbot_has_it(self) -> None:
        self.papers.pair("a")
        leaf = self.papers.leaf("mail.example.org")
        self.papers.write("default/fullchain.pem", chain(leaf))
        self.papers.write("default/privkey.pem", key(leaf))
        self.start()
        self.assertEqual(self.shown(), serial(leaf))

    def test_two_for_one_name(self) -> None:
        """The one that lasts longest, as when a tool makes a second one."""
        self.papers.pair("a", "shop.example.org", ends=10)
        longest = self.papers.pair("b", "shop.example.org", ends=30)
        self.papers.pair("c", "shop.example.org", ends=20)
        self.start()
        self.assertEqual(self.shown("shop.example.org"), longest)

    def test_what_is_agreed_with_the_other(self) -> None:
        """A connection that was switched has the same protocol and version."""
        self.papers.pair("a")
        self.papers.pair("b")
        self.start()
        self.client.set_alpn_protocols(["http/1.1"])
        for name in ("a.example.org", "b.example.org"):
            _, far = shake(self.certificates.context(), self.client, name)
            self.assertEqual(far.selected_alpn_protocol(), "http/1.1")
            self.assertEqual(far.version(), "TLSv1.3")


class LayoutTests(FolderCase):
    """What is in a folder."""

    def test_as_certbot_has_it(self) -> None:
        """A folder for each, with more files than are needed, and a note."""
        leaf = self.papers.leaf("shop.example.org")
        self.papers.write("shop/fullchain.pem", chain(leaf))
        self.papers.write("shop/privkey.pem", key(leaf))
        self.papers.write("shop/cert.pem", b"")
        self.papers.write("README", b"")
        self.start()
        self.assertEqual(self.shown("shop.example.org"), serial(leaf))

    def test_both_layouts(self) -> None:
        """Side by side, even under one name."""
        first = self.papers.pair("shop", "a.example.org")
        leaf = self.papers.leaf("b.example.org")
        self.papers.write("shop/fullchain.pem", chain(leaf))
        self.papers.write("shop/privkey.pem", key(leaf))
        self.start()
        self.assertEqual(self.shown("a.example.org"), first)
        self.assertEqual(self.shown("b.example.org"), serial(leaf))

    def test_hidden_files(self) -> None:
        """Drafts of other programs are not looked at."""
        shop = self.papers.pair("shop")
        self.papers.write(".new.pem", b"")
        self.papers.write(".new/fullchain.pem", b"")
        self.start()
        self.assertEqual(self.shown(), shop)

    def test_one_without_the_other(self) -> None:
        """It may be a typing error, so it is not passed over."""
        self.papers.pair("a")
        for name, missing in (
            ("b.pem", "b.key"),
            ("b.key", "b.pem"),
            ("b/fullchain.pem", "b/privkey.pem"),
            ("b/privkey.pem", "b/fullchain.pem"),
        ):
            content = (self.folder / "a.pem").read_bytes()
            path = self.papers.write(name, content)
            self.assert_refused(self.folder / missing, "No such file or directory")
            path.unlink()

    def test_no_certificate(self) -> None:
        self.papers.write("README", b"")
        self.assert_refused(
            self.folder,
            "there is no NAME.pem with a NAME.key, nor NAME/fullchain.pem with a "
            "privkey.pem",
        )

    def test_no_folder(self) -> None:
        shutil.rmtree(self.folder)
        self.assert_refused(self.folder, "No such file or directory")

    def test_a_bad_one_among_good_ones(self) -> None:
        """At the start it is an error: its name would have another's certificate."""
        self.papers.pair("a")
        self.papers.pair("b")
        path = self.papers.write("b.key", (self.folder / "a.key").read_bytes())
        self.assert_refused(path, f"is not the key of '{self.folder}/b.pem'")


class ChangeTests(FolderCase):
    """Certificates that come, go and are renewed while the listener serves."""

    def setUp(self) -> None:
        super().setUp()
        self.first = self.papers.pair("a")
        self.second = self.papers.pair("b")
        self.start()

    def assert_both(self, first: int, second: int) -> None:
        self.assertEqual(self.shown("a.example.org"), first)
        self.assertEqual(self.shown("b.example.org"), second)

    def test_renewal_of_the_default(self) -> None:
        """The others are served as before."""
        new = self.papers.pair("a")
        self.assert_served(new)
        self.assert_both(new, self.second)
        self.assertEqual(len(self.log.lines()), 1)

    def test_renewal_of_another(self) -> None:
        new = self.papers.pair("b")
        self.assert_served(self.first)
        self.assert_both(self.first, new)

    def test_a_new_one(self) -> None:
        new = self.papers.pair("c")
        self.assert_served(new, "c.example.org")
        self.assert_both(self.first, self.second)
        self.assertIn("for c.example.org, valid", self.log.text())

    def test_a_new_default(self) -> None:
        new = self.papers.pair("default")
        self.assert_served(new)
        self.assert_both(self.first, self.second)

    def test_one_that_is_gone(self) -> None:
        """Clients that name a removed certificate get the default one."""
        for suffix in (".pem", ".key"):
            (self.folder / f"b{suffix}").unlink()
        self.assert_served(self.first, "b.example.org")
        self.assert_logged(
            LogLevel.info,
            f"no longer serving the certificate '{self.folder}/b.pem' for "
            "b.example.org, valid until 2030-09-13 12:00 UTC: its files are gone",
        )

    def test_a_default_that_is_gone(self) -> None:
        for suffix in (".pem", ".key"):
            (self.folder / f"a{suffix}").unlink()
        self.assert_served(self.second)

    def test_bad_renewal_among_good_ones(self) -> None:
        """The bad one stays as it was; the others are renewed."""
        self.papers.write("a.key", b"")
        new = self.papers.pair("b")
        self.assert_served(self.first)
        self.assert_both(self.first, new)
        [line] = self.log.lines(LogLevel.error)
        self.assertIn(f"'{self.folder}/a.key': has no private key", line)

    def test_a_bad_new_one(self) -> None:
        """It is not served, and its name gets the default."""
        self.papers.write("c.pem", (self.folder / "b.pem").read_bytes())
        self.assert_served(self.first, "c.example.org")
        self.assert_logged(
            LogLevel.error,
            "cannot serve a new certificate: "
            f"'{self.folder}/c.key': No such file or directory",
        )
        self.papers.pair("c")
        self.clock.advance(1)
        self.assertNotEqual(self.shown("c.example.org"), self.first)

    def test_folder_that_is_gone(self) -> None:
        """Everything stays as it was, which is said once."""
        away = self.folder.with_name("away")
        said = (
            f"cannot renew certificates: '{self.folder}': No such file or directory"
            "; still serving what there was"
        )
        for lines in ([said], [said, said]):
            self.folder.rename(away)
            self.assert_served(self.first)
            self.assert_both(self.first, self.second)
            self.assert_logged(LogLevel.error, *lines)
            away.rename(self.folder)
            self.first = self.papers.pair("a")
            self.assert_served(self.first)

    def test_nothing_but_a_bad_new_one(self) -> None:
        """Something must be served: what there was."""
        for name in ("a.pem", "a.key", "b.pem", "b.key"):
            (self.folder / name).unlink()
        self.papers.write("c.pem", b"")
        self.assert_served(self.first)
        self.assert_both(self.first, self.second)
