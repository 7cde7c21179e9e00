"""Static files that a server in front sends, told by a field."""

from clusterapp.web.static.static_files import StaticOptions
from tests.unit.web.static.static_files import LARGE, StaticCase


class AccelTests(StaticCase):
    """nginx: an internal location stands for the folder."""

    options = StaticOptions(sendfile_header="X-Accel-Redirect=/internal/files/")

    def path(self, name: bytes, *fields: bytes) -> bytes:
        answer = self.get(name, *fields)
        self.assertEqual((answer.status, answer.body), (200, b""))
        return answer.fields[b"x-accel-redirect"]

    def test_file(self) -> None:
        self.assertEqual(self.path(b"letters.txt?v=1"), b"/internal/files/letters.txt")
        fields = self.get(b"letters.txt").fields
        self.assertEqual(fields[b"content-type"], b"text/plain; charset=utf-8")
        self.assertEqual(fields[b"cache-control"], b"no-cache")
        self.assertEqual(fields[b"x-content-type-options"], b"nosniff")

    def test_what_the_server_in_front_does_itself(self) -> None:
        """Conditions, ranges and encodings: it has the file, and the request."""
        self.write("letters.txt.gz", b"packed")
        for field in (
            b"If-None-Match: *",
            b'If-Match: "x"',
            b"Range: bytes=0-1",
            b"Accept-Encoding: gzip",
        ):
            self.path(b"letters.txt", field)
        for name in (b"etag", b"last-modified", b"content-encoding", b"vary"):
            self.assertNotIn(name, self.get(b"letters.txt").fields)

    def test_large_file(self) -> None:
        """It is not kept open."""
        self.write("large.bin", bytes(LARGE))
        self.path(b"large.bin")
        self.assertEqual(self.files._cache.descriptors, 0)

    def test_names_are_encoded(self) -> None:
        self.write("a b%41ä?.txt")
        self.assertEqual(
            self.path(b"a%20b%2541%c3%a4%3f.txt"),
            b"/internal/files/a%20b%2541%C3%A4%3F.txt",
        )

    def test_index(self) -> None:
        self.write("sub/index.html")
        self.assertEqual(self.path(b"sub/"), b"/internal/files/sub/index.html")
        self.assertEqual(self.get(b"sub").status, 302)

    def test_fingerprint(self) -> None:
        """The server in front knows the plain name alone."""
        for name, content in (("letters.txt", b"x"), ("large.bin", bytes(LARGE))):
            self.write(name, content)
            self.pass_a_second()
            url = self.fingerprints.url(name).removeprefix("/static/").encode()
            self.assertEqual(self.path(url), b"/internal/files/" + name.encode())
            kept_for = self.get(url).fields[b"cache-control"]
            self.assertEqual(kept_for, b"max-age=31536000, immutable")

    def test_what_must_not_be_served(self) -> None:
        """The server in front would not ask whether it may."""
        self.write(".env", b"secret")
        (self.site / "out.txt").symlink_to(self.root / "secret.txt")
        (self.site / "empty").mkdir()
        self.assert_hidden(
            b".env",
            b"out.txt",
            b"..%2fsecret.txt",
            b"../secret.txt",
            b"none",
            b"empty/",
        )

    def test_file_that_goes(self) -> None:
        self.path(b"letters.txt")
        (self.site / "letters.txt").unlink()
        self.pass_a_second()
        self.assertEqual(self.get(b"letters.txt").status, 404)


class SendfileTests(StaticCase):
    """Apache and lighttpd: the path on this machine."""

    options = StaticOptions(sendfile_header="X-Sendfile")

    def test_file(self) -> None:
        answer = self.get(b"letters.txt")
        self.assertEqual((answer.status, answer.body), (200, b""))
        path = bytes(self.site / "letters.txt")
        self.assertEqual(answer.fields[b"x-sendfile"], path)
