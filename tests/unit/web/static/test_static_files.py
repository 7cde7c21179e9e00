"""Static files: what is sent, and above all what is not."""

import contextlib
import errno
import os
import resource
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.web.http import datetimeToString

from clusterapp.web.static.static_files import StaticOptions
from tests.unit.web.static.static_files import (
    LARGE,
    LETTERS,
    StaticCase,
    body_of,
    open_files,
    read,
)

DOORS = [b"/static/", b"/st%61tic/", b"http://a/static/"]


class StaticFilesTests(StaticCase):
    """A folder with files, a folder with an index and one without."""

    def setUp(self) -> None:
        super().setUp()
        for name in ("empty", ".git"):
            (self.site / name).mkdir()
        self.write("sub/index.html", b"<p>index")
        self.write(".env", b"secret")
        self.write(".git/config", b"secret")

    def test_file(self) -> None:
        answer = self.get(b"letters.txt")
        self.assertEqual((answer.status, answer.body), (200, LETTERS))
        self.assertEqual(answer.fields[b"content-length"], b"26")
        self.assertEqual(answer.fields[b"x-content-type-options"], b"nosniff")
        self.assertEqual(answer.fields[b"accept-ranges"], b"bytes")
        self.assertEqual(answer.fields[b"last-modified"], datetimeToString(1000))
        self.assertRegex(answer.fields[b"etag"], rb'"[0-9a-f]{32}"')
        self.assertNotIn(b"vary", answer.fields)

    def test_the_same_answer_twice(self) -> None:
        """It is prepared once."""
        one = self.prepared(b"/static/letters.txt")
        self.assertIs(self.prepared(b"/static/letters.txt"), one)
        self.assertIs(self.prepared(b"/static/letters.txt?v=1"), one)
        self.assertIs(self.prepared(b"/static/%6cetters.txt"), one)

    def test_head(self) -> None:
        """HEAD is told what GET would; the engine leaves the body out."""
        asked = self.prepared(b"/static/letters.txt", method=b"HEAD")
        self.assertIs(asked, self.prepared(b"/static/letters.txt"))

    def test_large_file(self) -> None:
        """It is sent from the disk, and never read."""
        self.write("large.bin", bytes(LARGE))
        prepared = self.prepared(b"/static/large.bin")
        self.assertFalse(any(isinstance(part, bytes) for part in prepared.parts))
        answer = read(prepared)
        self.assertEqual((answer.status, answer.body), (200, bytes(LARGE)))
        self.assertEqual(answer.fields[b"content-length"], b"%d" % LARGE)
        self.assertEqual(answer.fields[b"last-modified"], datetimeToString(1000))

    def test_head_of_nothing(self) -> None:
        self.assertEqual(self.get(b"nothing", method=b"HEAD").status, 404)

    def test_other_methods(self) -> None:
        """Whether the file is there, and whether it was asked for before."""
        self.get(b"letters.txt")
        for method in (b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PROPFIND", b"get"):
            for name in (b"letters.txt", b"nothing", b"sub"):
                answer = self.get(name, method=method)
                self.assertEqual(answer.status, 405, method)
                self.assertEqual(answer.fields[b"allow"], b"GET, HEAD")

    def test_types(self) -> None:
        for name, kind in (
            ("page.html", b"text/html; charset=utf-8"),
            ("style.CSS", b"text/css; charset=utf-8"),
            ("code.mjs", b"text/javascript; charset=utf-8"),
            ("picture.png", b"image/png"),
            ("font.woff2", b"font/woff2"),
            ("archive.tar.gz", b"application/gzip"),
            ("what.ever", b"application/octet-stream"),
            ("README", b"application/octet-stream"),
            ("html/page", b"application/octet-stream"),
            ("folder.html/page", b"application/octet-stream"),
        ):
            self.write(name)
            answer = self.get(name.encode())
            self.assertEqual(answer.fields[b"content-type"], kind, name)
            self.assertNotIn(b"content-encoding", answer.fields, name)

    def test_refusals_have_a_type_too(self) -> None:
        answer = self.get(b"nothing")
        self.assertEqual(answer.body, b"404 Not Found\n")
        self.assertEqual(answer.fields[b"content-type"], b"text/plain; charset=utf-8")

    def test_empty_file(self) -> None:
        self.write("empty.txt", b"")
        answer = self.get(b"empty.txt")
        self.assertEqual((answer.status, answer.body), (200, b""))
        self.assertEqual(self.get(b"empty.txt", b"Range: bytes=0-").status, 416)

    def test_names_of_any_bytes(self) -> None:
        for name in ("grüß dich.txt".encode(), b"latin-\xe9.txt", b"a+b%c;d.txt"):
            self.write(os.fsdecode(name))
            target = b"".join(b"%%%02x" % byte for byte in name)
            self.assertEqual(self.get(target).status, 200, name)

    def test_missing_file(self) -> None:
        self.assert_hidden(b"nothing", b"letters.txt/x", b"letters.txt/")

    def test_file_that_must_not_be_read(self) -> None:
        """Tests may run as root, which may read everything: the error is simulated."""
        really_open = os.open

        def refuse(path: bytes, flags: int) -> int:
            if not flags & os.O_PATH:
                raise PermissionError(errno.EACCES, "Permission denied", path)
            return really_open(path, flags)

        self.patch(os, "open", refuse)
        self.assertEqual(self.get(b"letters.txt").status, 403)

    def test_no_descriptor_is_free(self) -> None:
        """That is no reason to say that a file does not exist."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        files = []
        most = max(int(each.name) for each in Path("/proc/self/fd").iterdir()) + 8
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        with contextlib.suppress(OSError):
            while True:
                files.append(os.open("/dev/null", os.O_RDONLY))
        answer = self.get(b"letters.txt")
        for each in files:
            os.close(each)
        self.assertEqual(answer.status, 503)
        self.assertEqual(answer.fields[b"retry-after"], b"1")
        self.assertEqual(self.get(b"letters.txt").status, 200)

    def test_directory_with_an_index(self) -> None:
        answer = self.get(b"sub/")
        self.assertEqual((answer.status, answer.body), (200, b"<p>index"))
        self.assertEqual(answer.fields[b"content-type"], b"text/html; charset=utf-8")

    def test_index_of_the_folder_itself(self) -> None:
        self.write("index.html", b"<p>first")
        self.assertEqual(self.get(b"").body, b"<p>first")

    def test_directory_without_its_slash(self) -> None:
        """The redirect is relative, so no Host field can lead it elsewhere."""
        answer = self.get(b"sub?a=b")
        self.assertEqual(answer.status, 302)
        self.assertEqual(answer.fields[b"location"], b"sub/?a=b")
        self.assertEqual(self.get(b"s%75b").fields[b"location"], b"sub/")
        self.write("a:b?/index.html")
        self.assertEqual(self.get(b"a:b%3f").fields[b"location"], b"a%3Ab%3F/")

    def test_redirect_keeps_a_query_and_no_line_breaks(self) -> None:
        location = self.get(b"sub?a=%41&b=/?c\r\nSet-Cookie: d").fields[b"location"]
        self.assertEqual(location, b"sub/?a=%41&b=/?c%0D%0ASet-Cookie:%20d")

    def test_directories_are_not_listed(self) -> None:
        self.assert_hidden(b"", b"empty", b"empty/")

    def test_hidden_files(self) -> None:
        self.assert_hidden(b".env", b"%2eenv", b".git/config", b".git/", b".git")

    def test_ways_out(self) -> None:
        inside = bytes(self.root)[1:]
        self.assert_hidden(
            b"../secret.txt",
            b"%2e%2e/secret.txt",
            b"%252e%252e/secret.txt",
            b"..%2fsecret.txt",
            b"..%5csecret.txt",
            b"..\\secret.txt",
            b"sub\\..\\..\\secret.txt",
            b"%c0%ae%c0%ae/secret.txt",
            b"sub/../../secret.txt",
            b"sub/..;/../secret.txt",
            b"sub%2findex.html",
            b"%2f" + inside + b"/secret.txt",
            b"/" + inside + b"/secret.txt",
            b"sub//index.html",
            b"./letters.txt",
        )

    def test_names_that_no_file_has(self) -> None:
        self.assert_hidden(
            b"%00", b"letters.txt%00", b"sub%00/index.html", b"x" * 300, b"x/" * 4000
        )

    def test_backslash_in_a_name(self) -> None:
        """On another system, or to a server in front, it divides a path."""
        self.write("a\\b.txt")
        self.assert_hidden(b"a\\b.txt", b"a%5cb.txt")

    def test_links_out_of_the_folder(self) -> None:
        (self.site / "out.txt").symlink_to(self.root / "secret.txt")
        (self.site / "up").symlink_to(self.root)
        (self.site / "twin").symlink_to(self.root / "site-2")
        (self.root / "site-2").mkdir()
        (self.root / "site-2" / "x.txt").write_bytes(b"secret")
        (self.site / "loop").symlink_to(self.site / "loop")
        (self.site / "index.html").symlink_to(self.root / "secret.txt")
        self.assert_hidden(
            b"out.txt", b"up/secret.txt", b"twin/x.txt", b"loop", b"loop/x", b"", b"up"
        )

    def test_link_that_comes_to_lead_out(self) -> None:
        """A file that was served is not when its name leads elsewhere."""
        self.get(b"sub/index.html")
        (self.site / "sub").rename(self.root / "moved")
        (self.root / "moved" / "index.html").write_bytes(b"secret")
        (self.site / "sub").symlink_to(self.root / "moved")
        self.pass_a_second()
        self.assert_hidden(b"sub/index.html")

    def test_link_that_is_put_in_at_the_last_moment(self) -> None:
        """What counts is what was opened, not what the name led to before."""
        really_open = os.open

        def late(path: bytes, flags: int) -> int:
            if path.endswith(b"/letters.txt"):
                (self.site / "letters.txt").unlink()
                (self.site / "letters.txt").symlink_to(self.root / "secret.txt")
            return really_open(path, flags)

        self.patch(os, "open", late)
        self.assert_hidden(b"letters.txt")

    def test_name_that_changes_while_it_is_opened(self) -> None:
        """The file that was judged is the one that is read."""
        really_open = os.open

        def late(path: bytes, flags: int) -> int:
            if path.startswith(b"/proc/"):
                (self.site / "letters.txt").unlink()
                (self.site / "letters.txt").symlink_to(self.root / "secret.txt")
            return really_open(path, flags)

        self.patch(os, "open", late)
        self.assertEqual(self.get(b"letters.txt").body, LETTERS)

    def test_links_within_the_folder(self) -> None:
        """Even by way of a hidden one, as Kubernetes mounts its volumes."""
        (self.site / "again.txt").symlink_to("letters.txt")
        self.assertEqual(self.get(b"again.txt").body, LETTERS)
        self.write("..2026/deep.txt", LETTERS)
        (self.site / "..data").symlink_to("..2026")
        (self.site / "deep.txt").symlink_to("..data/deep.txt")
        self.assertEqual(self.get(b"deep.txt").body, LETTERS)

    def test_the_folder_may_be_a_link(self) -> None:
        (self.root / "link").symlink_to(self.site)
        self.site = self.root / "link"
        self.serve(StaticOptions())
        self.assertEqual(self.get(b"letters.txt").body, LETTERS)

    def test_only_regular_files(self) -> None:
        """A pipe would block the worker for ever."""
        os.mkfifo(self.site / "pipe.txt")
        (self.site / "device").symlink_to("/dev/null")
        self.assert_hidden(b"pipe.txt", b"device")

    def test_nothing_stays_open(self) -> None:
        """But for large files: neither small ones, nor what was refused."""
        os.mkfifo(self.site / "pipe.txt")
        (self.site / "out.txt").symlink_to(self.root / "secret.txt")
        before = open_files()
        for name in (b"letters.txt", b"pipe.txt", b"out.txt", b"sub", b"sub/", b"no"):
            self.get(name)
        self.assertEqual(sorted(open_files()), sorted(before))


PIECES = st.sampled_from(
    [
        *(
            b"site",
            b"sub",
            b"secret.txt",
            b"index.html",
            b"letters.txt",
            b".env",
            b"up",
        ),
        *(
            b"/",
            b"%2f",
            b"%252f",
            b"\\",
            b"%5c",
            b"//",
            b"?",
            b"#",
            b";",
            b"\0",
            b"%00",
        ),
        *(b".", b"..", b"...", b"%2e", b"%2e%2e", b"%252e", b"%c0%ae", b"%", b"%u002e"),
        *(b"http://a/static/", b"/static/", b".0123456789ab", b".0123456789ab.txt"),
    ]
)


class WaysOutTests(StaticCase):
    """Spellings that nobody has thought of."""

    def setUp(self) -> None:
        super().setUp()
        self.write("sub/index.html")
        self.write(".env", b"secret")
        (self.site / "up").symlink_to(self.root)
        (self.site / "secret.txt").symlink_to("../secret.txt")

    @given(st.lists(PIECES, max_size=8).map(b"".join), st.sampled_from(DOORS))
    def test_no_spelling_leads_out(self, rest: bytes, listener: bytes) -> None:
        """Whatever is asked for, no secret is in the answer."""
        found = self.files.answer(b"GET", listener + rest, [])
        if found is not None:
            self.assertIn(found.status, (200, 302, 404))
            self.assertNotIn(b"secret", body_of(found))


class PathTests(StaticCase):
    """Which paths are for static files."""

    def is_static(self, target: bytes, static_url: str = "/static/") -> bool:
        self.serve(StaticOptions(), static_url)
        return self.files.answer(b"GET", target, []) is not None

    def test_everything_below(self) -> None:
        for target in (
            b"/static/",
            b"/static/letters.txt",
            b"/st%61tic/letters.txt",
            b"/static//",
            b"/static/%",
            b"/static/?a",
            b"http://any/static/letters.txt",
            b"HTTPS://any:8080/st%61tic/",
        ):
            self.assertTrue(self.is_static(target), target)

    def test_nothing_beside(self) -> None:
        for target in (
            b"/",
            b"*",
            b"",
            b"/static",
            b"/static?/",
            b"/statics/a",
            b"//static/a",
            b"/static%2Fa",
            b"/static%2F/a",
            b"/%2fstatic/a",
            b"/x/static/",
            b"/x?/static/letters.txt",
            b"http://static/letters.txt",
            b"ftp://any/static/letters.txt",
            b"any:443",
        ):
            self.assertFalse(self.is_static(target), target)

    def test_other_spellings_lead_to_the_same_file(self) -> None:
        for target in (b"/st%61tic/letters.txt", b"http://any/static/letters.txt?v"):
            self.assertEqual(read(self.prepared(target)).body, LETTERS)

    def test_prefix_of_more_segments(self) -> None:
        self.assertTrue(self.is_static(b"/assets/v1/x", "/assets/v1/"))
        self.assertFalse(self.is_static(b"/assets/v2/x", "/assets/v1/"))
        self.assertFalse(self.is_static(b"/assets/v1", "/assets/v1/"))
        self.assertFalse(self.is_static(b"/assets%2Fv1/x", "/assets/v1/"))

    def test_prefix_that_is_not_ascii(self) -> None:
        self.assertTrue(self.is_static(b"/k%C3%A4se/x", "/käse/"))

    def test_methods_beside(self) -> None:
        """A POST for the application is none of our business."""
        self.assertIsNone(self.files.answer(b"POST", b"/form", []))
