"""Compressed siblings, chosen by Accept-Encoding (RFC 9110, section 12.5.3)."""

import errno
import os

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.web.static.accept_encoding import CODINGS, wanted
from tests.unit.web.static.static_files import LARGE, StaticCase


class WantedTests(SynchronousTestCase):
    """Which encodings a client wants, the best first."""

    def test_wishes(self) -> None:
        for value, best in (
            (b"", ()),
            (b"gzip", (b"gzip",)),
            (b"gzip, deflate, br", (b"br", b"gzip")),
            (b"gzip, deflate, br, zstd", (b"br", b"zstd", b"gzip")),
            (b"GZIP", (b"gzip",)),
            (b"x-gzip", (b"gzip",)),
            (b"gzip;q=1.0, br;q=0.5", (b"gzip", b"br")),
            (b"gzip ; q=0.8 , br;Q=0.9", (b"br", b"gzip")),
            (b"br;q=0, gzip", (b"gzip",)),
            (b"br;q=0.000", ()),
            (b"br;q=0.001", (b"br",)),
            (b"*", (b"br", b"zstd", b"gzip")),
            (b"*;q=0", ()),
            (b"gzip, *;q=0", (b"gzip",)),
            (b"br;q=0, *", (b"zstd", b"gzip")),
            (b"gzip;q=0.2, *;q=0.1", (b"gzip", b"br", b"zstd")),
            (b"identity", ()),
            (b"identity, gzip", (b"gzip",)),
            (b"identity;q=0.5, gzip;q=0.4, br;q=0.6", (b"br",)),
            (b"identity;q=0, gzip", (b"gzip",)),
            (b"br;q=0.2, zstd;q=0.2, gzip;q=0.2, *;q=0.5", ()),
            (b"deflate", ()),
        ):
            self.assertEqual(wanted(value), best, value)

    def test_what_cannot_be_understood_does_not_count(self) -> None:
        for value in (
            b"gzip;q=2",
            b"gzip;q=-1",
            b"gzip;q=",
            b"gzip;q=0.1234",
            b"gzip;level=9",
            b"gzip br",
            b";q=1",
            b"\xff",
            b"gzip\x00",
        ):
            self.assertEqual(wanted(value), (), value)
        self.assertEqual(wanted(b"gzip;q=x, br, ,"), (b"br",))

    def test_long_lists(self) -> None:
        """They are read to some point, and not remembered."""
        self.assertEqual(
            wanted(b",".join([b"x"] * 20 + [b"gzip;q=0.50"] * 20)), (b"gzip",)
        )
        self.assertEqual(wanted(b"x," * 10000 + b"gzip"), ())

    @given(st.binary(max_size=200))
    def test_whatever_a_client_writes_is_no_error(self, value: bytes) -> None:
        self.assertLessEqual(set(wanted(value)), set(CODINGS))


class SiblingTests(StaticCase):
    """A file with compressed siblings."""

    def setUp(self) -> None:
        super().setUp()
        self.write("app.css", b"plain css")
        for end in ("br", "zst", "gz"):
            self.write(f"app.css.{end}", f"as {end}".encode())

    def asked(self, accepted: bytes, name: bytes = b"app.css") -> tuple[bytes, bytes]:
        """Return the encoding and the body."""
        answer = self.get(name, b"Accept-Encoding: " + accepted)
        self.assertEqual(answer.status, 200)
        return answer.fields.get(b"content-encoding", b""), answer.body

    def test_best_that_is_wanted(self) -> None:
        self.assertEqual(self.asked(b"gzip, deflate, br, zstd"), (b"br", b"as br"))
        self.assertEqual(self.asked(b"gzip, zstd"), (b"zstd", b"as zst"))
        self.assertEqual(self.asked(b"gzip;q=1, br;q=0.9"), (b"gzip", b"as gz"))
        self.assertEqual(self.asked(b"deflate"), (b"", b"plain css"))
        self.assertEqual(self.asked(b"*;q=0"), (b"", b"plain css"))

    def test_best_that_is_there(self) -> None:
        (self.site / "app.css.br").unlink()
        self.assertEqual(self.asked(b"gzip;q=0.5, br"), (b"gzip", b"as gz"))

    def test_not_asked_for(self) -> None:
        self.assertEqual(self.get(b"app.css").body, b"plain css")
        self.assertEqual(self.asked(b"br")[0], b"br")
        self.assertEqual(self.get(b"app.css").body, b"plain css")

    def test_several_lines_are_one_list(self) -> None:
        answer = self.get(
            b"app.css", b"Accept-Encoding: deflate", b"ACCEPT-ENCODING: br"
        )
        self.assertEqual(answer.body, b"as br")

    def test_fields(self) -> None:
        """The type is that of the file; whatever is chosen, the choice is told."""
        plain = self.get(b"app.css").fields
        packed = self.get(b"app.css", b"Accept-Encoding: br").fields
        for fields in (plain, packed):
            self.assertEqual(fields[b"content-type"], b"text/css; charset=utf-8")
            self.assertEqual(fields[b"vary"], b"Accept-Encoding")
        self.assertNotEqual(plain[b"etag"], packed[b"etag"])
        self.assertNotIn(b"content-encoding", plain)

    def test_unchanged(self) -> None:
        """Each encoding has a tag of its own, and Vary is told again."""
        accepted = b"Accept-Encoding: br"
        tag = self.get(b"app.css", accepted).fields[b"etag"]
        same = self.get(b"app.css", accepted, b"If-None-Match: " + tag)
        self.assertEqual((same.status, same.fields[b"etag"]), (304, tag))
        self.assertEqual(same.fields[b"vary"], b"Accept-Encoding")
        self.assertEqual(self.get(b"app.css", b"If-None-Match: " + tag).status, 200)

    def test_siblings_of_the_same_bytes_have_different_tags(self) -> None:
        for name in ("app.css", "app.css.br"):
            self.write(name, b"the same")
        plain = self.get(b"app.css").fields[b"etag"]
        packed = self.get(b"app.css", b"Accept-Encoding: br").fields[b"etag"]
        self.assertNotEqual(plain, packed)

    def test_range_of_an_encoding(self) -> None:
        """Section 14.2: it is a part of what would be sent."""
        answer = self.get(b"app.css", b"Accept-Encoding: gzip", b"Range: bytes=0-1")
        self.assertEqual((answer.status, answer.body), (206, b"as"))
        self.assertEqual(answer.fields[b"content-encoding"], b"gzip")
        self.assertEqual(answer.fields[b"content-range"], b"bytes 0-1/5")

    def test_older_sibling(self) -> None:
        """What was compressed before the last edit is not sent."""
        self.write("app.css", b"edited", seconds=1001)
        self.write("app.css.gz", b"as gz", seconds=1002)
        self.assertEqual(self.asked(b"br, gzip;q=0.5"), (b"gzip", b"as gz"))

    def test_no_sibling_is_young_enough(self) -> None:
        self.write("app.css", b"edited", seconds=1001)
        answer = self.get(b"app.css", b"Accept-Encoding: br, gzip")
        self.assertEqual(answer.body, b"edited")
        self.assertNotIn(b"vary", answer.fields)

    def test_sibling_that_comes_and_goes(self) -> None:
        name = b"letters.txt"
        self.assertEqual(self.asked(b"gzip", name)[0], b"")
        self.write("letters.txt.gz", b"packed")
        self.pass_a_second()
        self.assertEqual(self.asked(b"gzip", name), (b"gzip", b"packed"))
        (self.site / "letters.txt.gz").unlink()
        self.pass_a_second()
        self.assertEqual(self.asked(b"gzip", name)[0], b"")

    def test_sibling_that_leads_out_of_the_folder(self) -> None:
        (self.site / "letters.txt.gz").symlink_to(self.root / "secret.txt")
        self.assertEqual(self.asked(b"gzip", b"letters.txt")[0], b"")

    def test_sibling_that_must_not_be_read(self) -> None:
        """The file itself may be, and so it is."""
        really_open = os.open

        def refuse(path: bytes, flags: int) -> int:
            if path.startswith(b"/proc/") and os.readlink(path).endswith(b".br"):  # noqa: PTH115
                raise PermissionError(errno.EACCES, "Permission denied", path)
            return really_open(path, flags)

        self.patch(os, "open", refuse)
        self.assertEqual(self.asked(b"br, gzip;q=0.5"), (b"gzip", b"as gz"))

    def test_large_sibling(self) -> None:
        self.write("app.css.gz", bytes(LARGE))
        prepared = self.prepared(b"/static/app.css", b"Accept-Encoding: gzip")
        self.assertFalse(any(isinstance(part, bytes) for part in prepared.parts))
        self.assertEqual(self.asked(b"gzip"), (b"gzip", bytes(LARGE)))

    def test_asked_for_by_its_name(self) -> None:
        """It is a file like others, and is not unpacked by the browser."""
        answer = self.get(b"app.css.gz", b"Accept-Encoding: gzip")
        self.assertEqual(answer.fields[b"content-type"], b"application/gzip")
        self.assertNotIn(b"content-encoding", answer.fields)

    def test_index(self) -> None:
        self.write("sub/index.html")
        self.write("sub/index.html.br", b"packed")
        self.assertEqual(self.asked(b"br", b"sub/"), (b"br", b"packed"))
