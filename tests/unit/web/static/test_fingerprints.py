"""Names that change with the content, and how long clients may keep what."""

import os
from hashlib import blake2b
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.web.static.fingerprints import (
    Fingerprints,
    with_fingerprint,
    without_fingerprint,
)
from clusterapp.web.static.static_files import StaticOptions
from tests.unit.web.static.static_files import LARGE, LETTERS, Answer, StaticCase

FOR_EVER = b"max-age=31536000, immutable"


def mark_of(content: bytes) -> str:
    """Return the fingerprint of a content."""
    return blake2b(content, digest_size=16).hexdigest()[:12]


class NameTests(SynchronousTestCase):
    """Where the fingerprint stands in a name."""

    def test_in_front_of_the_extension(self) -> None:
        for name, marked in (
            ("app.css", "app.0123456789ab.css"),
            ("css/app.min.css", "css/app.min.0123456789ab.css"),
            ("LICENSE", "LICENSE.0123456789ab"),
            ("v1.0/LICENSE", "v1.0/LICENSE.0123456789ab"),
            ("a.", "a.0123456789ab."),
        ):
            self.assertEqual(with_fingerprint(name, "0123456789ab"), marked)

    def test_names_without(self) -> None:
        for name in (
            b"app.css",
            b"app.0123456789AB.css",
            b"app.0123456789a.css",
            b"app.0123456789ab0.css",
            b".0123456789ab.css",
            b"a/.0123456789ab",
            b"a.0123456789ab/b.css",
            b"a.0123456789ab.tar.gz",
        ):
            self.assertIsNone(without_fingerprint(name), name)

    @given(
        st.lists(
            st.from_regex(
                "[a-f0-9.]*[a-z0-9][a-f0-9.]*|x\\.[a-f0-9]{12}", fullmatch=True
            ).filter(lambda name: not name.startswith(".")),
            min_size=1,
            max_size=3,
        ).map("/".join)
    )
    def test_there_and_back(self, name: str) -> None:
        found = without_fingerprint(with_fingerprint(name, "0123456789ab").encode())
        self.assertEqual(found, (name.encode(), "0123456789ab"))


class UrlTests(SynchronousTestCase):
    """``static_url`` in templates."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        (self.folder / "css").mkdir(parents=True)
        self.path = self.folder / "css" / "app.css"
        self.path.write_bytes(b"body {}")
        self.clock = Clock()
        self.prints = Fingerprints(self.folder, "/static/", self.clock.seconds)

    def test_url(self) -> None:
        url = f"/static/css/app.{mark_of(b'body {}')}.css"
        self.assertEqual(self.prints.url("css/app.css"), url)

    def test_edit(self) -> None:
        first = self.prints.url("css/app.css")
        self.path.write_bytes(b"body { color: red }")
        self.assertEqual(self.prints.url("css/app.css"), first)
        self.clock.advance(1.0)
        self.assertIn(mark_of(b"body { color: red }"), self.prints.url("css/app.css"))

    def test_content_is_read_once(self) -> None:
        """Later, the file is only looked at."""
        self.prints.url("css/app.css")
        self.patch(os, "open", lambda *_: self.fail("it is opened again"))
        self.clock.advance(1.0)
        self.prints.url("css/app.css")

    def test_names_are_encoded(self) -> None:
        self.prints = Fingerprints(self.folder, "/käse/", self.clock.seconds)
        mark = mark_of(b"")
        for name, encoded in (
            ("a b&'<\".css", "a%20b%26%27%3C%22"),
            ("ä.css", "%C3%A4"),
            (os.fsdecode(b"\xff.css"), "%FF"),
            ("50%25?#.css", "50%2525%3F%23"),
        ):
            (self.folder / name).write_bytes(b"")
            self.assertEqual(
                self.prints.url(name), f"/k%C3%A4se/{encoded}.{mark}.css", name
            )

    def test_file_that_is_not_served(self) -> None:
        """The error names it: most often it is a typing error."""
        (self.folder / ".env").write_bytes(b"")
        (self.folder.parent / "out.css").write_bytes(b"")
        (self.folder / "link.css").symlink_to(self.folder.parent / "out.css")
        for name in (
            "css/ap.css",
            "css",
            "css/",
            "",
            ".env",
            "../out.css",
            "link.css",
            "/css/app.css",
            "css/app.css\0",
        ):
            error = self.assertRaises(FileNotFoundError, self.prints.url, name)
            self.assertIn(f"static_url({name!r})", str(error))
            self.assertIn(str(self.folder), str(error))

    def test_file_that_goes(self) -> None:
        self.prints.url("css/app.css")
        self.path.unlink()
        self.clock.advance(1.0)
        self.assertRaises(FileNotFoundError, self.prints.url, "css/app.css")

    def test_what_is_remembered_has_an_end(self) -> None:
        for number in range(1100):
            (self.folder / f"{number}").write_bytes(b"%d" % number)
            self.prints.url(f"{number}")
        self.assertEqual(len(self.prints._known), 1024)
        self.assertEqual(len(self.prints._digests), 1024)


class ServedTests(StaticCase):
    """The URLs that `Fingerprints` gives are answered for ever, if they fit."""

    options = StaticOptions(max_age=60)

    def fetch(self, url: str, *fields: bytes) -> Answer:
        return self.get(url.removeprefix("/static/").encode(), *fields)

    def kept_for(self, answer: Answer) -> bytes:
        self.assertEqual(answer.status, 200)
        return answer.fields[b"cache-control"]

    def test_plain_name(self) -> None:
        self.assertEqual(self.kept_for(self.get(b"letters.txt")), b"max-age=60")
        self.serve(StaticOptions())
        self.assertEqual(self.kept_for(self.get(b"letters.txt")), b"no-cache")

    def test_fingerprint_that_fits(self) -> None:
        for name, content in (("letters.txt", LETTERS), ("sub/large.js", bytes(LARGE))):
            self.write(name, content)
            url = self.fingerprints.url(name)
            answer = self.fetch(url)
            self.assertEqual(self.kept_for(answer), FOR_EVER)
            self.assertEqual(answer.body, content)
            plain = self.get(name.encode())
            self.assertEqual(self.kept_for(plain), b"max-age=60")
            for field in (b"etag", b"content-type", b"last-modified"):
                self.assertEqual(answer.fields[field], plain.fields[field])

    def test_it_is_remembered(self) -> None:
        url = self.fingerprints.url("letters.txt").encode()
        one = self.prepared(url)
        self.assertIs(self.prepared(url), one)
        self.assertIn(url, self.files._cache.paths)

    def test_unchanged(self) -> None:
        """A 304 has the immutable Cache-Control field, too."""
        same = self.fetch(self.fingerprints.url("letters.txt"), b"If-None-Match: *")
        self.assertEqual(same.status, 304)
        self.assertEqual(same.fields[b"cache-control"], FOR_EVER)

    def test_fingerprint_of_another_content(self) -> None:
        """The present file is sent, but not kept for what it is not."""
        answer = self.get(b"letters.0123456789ab.txt")
        self.assertEqual(self.kept_for(answer), b"no-cache")
        self.assertEqual(answer.body, LETTERS)

    def test_edit(self) -> None:
        """The old URL fits no longer, and the new one does."""
        old = self.fingerprints.url("letters.txt")
        self.assertEqual(self.kept_for(self.fetch(old)), FOR_EVER)
        self.write("letters.txt", b"new", seconds=1001)
        self.pass_a_second()
        answer = self.fetch(old)
        self.assertEqual((self.kept_for(answer), answer.body), (b"no-cache", b"new"))
        new = self.fingerprints.url("letters.txt")
        self.assertEqual(self.kept_for(self.fetch(new)), FOR_EVER)

    def test_url_that_is_newer_than_what_is_kept(self) -> None:
        """Another worker has seen the edit already."""
        old = self.fingerprints.url("letters.txt")
        self.fetch(old)
        self.write("letters.txt", b"new", seconds=1001)
        answer = self.get(f"letters.{mark_of(b'new')}.txt".encode())
        self.assertEqual((self.kept_for(answer), answer.body), (FOR_EVER, b"new"))

    def test_url_that_is_newer_than_the_file(self) -> None:
        """It comes to fit when the file does: another machine was first."""
        name = f"letters.{mark_of(b'new')}.txt".encode()
        self.assertEqual(self.kept_for(self.get(name)), b"no-cache")
        self.write("letters.txt", b"new", seconds=1001)
        self.assertEqual(self.kept_for(self.get(name)), FOR_EVER)

    def test_real_file_of_that_name(self) -> None:
        """It wins, and what it holds need not fit."""
        self.write("letters.0123456789ab.txt", b"real")
        answer = self.get(b"letters.0123456789ab.txt")
        self.assertEqual((self.kept_for(answer), answer.body), (b"max-age=60", b"real"))

    def test_no_such_file(self) -> None:
        self.assert_hidden(b"none.0123456789ab.css", b"sub.0123456789ab")

    def test_hidden_files(self) -> None:
        self.write(".env", b"secret")
        self.write(".git/config", b"secret")
        self.assert_hidden(
            b".env.0123456789ab", b".0123456789ab.env", b".git/config.0123456789ab"
        )

    def test_siblings(self) -> None:
        self.write("letters.txt.br", b"packed")
        url = self.fingerprints.url("letters.txt")
        answer = self.fetch(url, b"Accept-Encoding: br")
        self.assertEqual((self.kept_for(answer), answer.body), (FOR_EVER, b"packed"))
