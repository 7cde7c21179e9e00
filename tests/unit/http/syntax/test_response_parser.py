"""Responses out of bytes."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.iweb import UNKNOWN_LENGTH

from clusterapp.errors import CoreBrokenError
from clusterapp.http.connection_limits import LONGEST_NAME
from clusterapp.http.syntax.message_head import ResponseHead
from clusterapp.http.syntax.response_parser import LIMIT, ResponseReader
from tests.unit.http.upstream.core_wire import CHUNKED, EMPTY, OK

KIB = 1024


def read(
    *pieces: bytes, head_only: bool = False, upgrade: bool = False
) -> ResponseReader:
    """Read one response that comes in pieces."""
    reader = ResponseReader()
    reader.expect(head_only=head_only, upgrade=upgrade)
    for piece in pieces:
        reader.feed(piece)
    return reader


def head_with(lines: bytes) -> bytes:
    """Write a head with a body of two bytes."""
    return b"HTTP/1.1 200 OK\r\n" + lines + b"\r\nContent-Length: 2\r\n\r\nok"


class HeadTests(SynchronousTestCase):
    """The head of a response."""

    def test_fields_keep_order_repeats_and_spelling(self) -> None:
        """They are what was on the wire, but for the white space around values."""
        reader = read(
            b"HTTP/1.1 299 Very \xe4 Fine\r\n"
            b"set-COOKIE:a\r\nX-Empty:\r\nSet-Cookie: \t b  c \t\r\nX: \xff\r\n"
            b"content-length: 0\r\n\r\n"
        )
        self.assertEqual(
            reader.head,
            ResponseHead(
                299,
                b"Very \xe4 Fine",
                (
                    (b"set-COOKIE", b"a"),
                    (b"X-Empty", b""),
                    (b"Set-Cookie", b"b  c"),
                    (b"X", b"\xff"),
                    (b"content-length", b"0"),
                ),
            ),
        )

    def test_reason_may_be_missing(self) -> None:
        """Status lines with an empty reason, and without one, are read."""
        for line in (b"HTTP/1.1 200", b"HTTP/1.1 200 "):
            head = read(line + b"\r\nContent-Length: 0\r\n\r\n").head
            self.assertEqual(head and (head.status, head.reason), (200, b""))

    def test_nothing_is_left_for_the_next(self) -> None:
        """A second response on the connection is read from a clean slate."""
        reader = read(b"HTTP/1.1 404 Gone\r\nX: 1\r\nContent-Length: 1\r\n\r\nx")
        reader.take_body()
        reader.expect(head_only=False, upgrade=False)
        self.assertIsNone(reader.head)
        reader.feed(OK)
        self.assertEqual(
            reader.head, ResponseHead(200, b"OK", ((b"Content-Length", b"2"),))
        )
        self.assertEqual(reader.take_body(), b"ok")

    def test_a_head_of_64_kib_is_the_most(self) -> None:
        """A longer one is refused, in one piece or many."""
        room = LIMIT - len(b"X") - len(b"Content-Length2")
        read(head_with(b"X: " + b"a" * room))
        with self.assertRaises(CoreBrokenError):
            read(head_with(b"X: " + b"a" * (room + 1)))
        with self.assertRaises(CoreBrokenError):
            read(head_with(b"\r\n".join([b"Xx: " + b"a" * KIB] * 64)))

    def test_names_are_bounded(self) -> None:
        """A name of 256 bytes is read, in a head or behind a body; no longer one."""
        fields = b"X" * LONGEST_NAME + b": 1"
        trailed = CHUNKED + b"2\r\nok\r\n0\r\n"
        read(head_with(fields))
        read(trailed + fields + b"\r\n\r\n")
        for message in (
            head_with(b"X" + fields),
            trailed + b"X" + fields + b"\r\n\r\n",
        ):
            with self.assertRaises(CoreBrokenError):
                read(message)

    def test_lengths_are_bounded(self) -> None:
        """No number is read that int() would not take, with zeros or without."""
        short = read(b"HTTP/1.1 200 OK\r\nContent-Length: %019d\r\n\r\nok" % 2)
        self.assertEqual(short.length, 2)
        for digits in (b"0" * 19 + b"2", b"0" * 5000 + b"2", b"9" * 5000):
            with self.assertRaises(CoreBrokenError):
                read(b"HTTP/1.1 200 OK\r\nContent-Length: " + digits + b"\r\n\r\nok")

    def test_what_has_no_end_is_refused(self) -> None:
        """A name, a value, a reason or an extension may not grow for ever."""
        for beginning in (
            b"HTTP/1.1 200 ",
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.1 200 OK\r\nX: ",
            CHUNKED + b"2;",
            CHUNKED + b"2\r\nok\r\n0\r\nX: ",
            CHUNKED + b"2\r\nok\r\n0\r\n",
        ):
            with self.assertRaises(CoreBrokenError):
                read(beginning, *[b"a" * KIB] * 66)

    def test_trailers_are_bounded(self) -> None:
        """So are the fields after a body."""
        with self.assertRaises(CoreBrokenError):
            read(CHUNKED + b"0\r\n", *[b"Xx: " + b"a" * KIB + b"\r\n"] * 64)


class BodyTests(SynchronousTestCase):
    """Where a body ends."""

    def test_content_length(self) -> None:
        """So many bytes, and no more wait for anything."""
        reader = read(OK)
        self.assertEqual(reader.length, 2)
        self.assertEqual(reader.take_body(), b"ok")
        self.assertTrue(reader.complete)
        self.assertTrue(reader.keep_alive)

    def test_short_of_content_length(self) -> None:
        """The end of the connection does not make it whole."""
        reader = read(OK[:-1])
        self.assertFalse(reader.complete)
        self.assertFalse(reader.ends_with_stream)

    def test_chunked(self) -> None:
        """Chunks are joined, their extensions dropped, trailers kept."""
        reader = read(CHUNKED + b"1\r\no\r\n1;x=y\r\nk\r\n0\r\nX-Sum: 1 \r\nY:\r\n\r\n")
        self.assertEqual(reader.length, UNKNOWN_LENGTH)
        self.assertEqual(reader.take_body(), b"ok")
        self.assertEqual(reader.trailers, [(b"X-Sum", b"1"), (b"Y", b"")])
        self.assertTrue(reader.complete)
        self.assertTrue(reader.keep_alive)

    def test_chunked_without_last_chunk(self) -> None:
        """It is not whole before the last line, not even with the last chunk."""
        for end in (b"", b"2\r\nok\r\n", b"0\r\n", b"0\r\nX: 1\r\n"):
            reader = read(CHUNKED + end)
            self.assertFalse(reader.complete)
            self.assertFalse(reader.ends_with_stream)

    def test_until_close(self) -> None:
        """With neither, the body is all that comes."""
        reader = read(b"HTTP/1.1 200 OK\r\n\r\no", b"k")
        self.assertEqual(reader.take_body(), b"ok")
        self.assertEqual(reader.length, UNKNOWN_LENGTH)
        self.assertFalse(reader.complete)
        self.assertTrue(reader.ends_with_stream)

    def test_no_content(self) -> None:
        """204 and 304 end with their head, whatever it says."""
        for status in (b"204", b"304"):
            for framing in (b"", b"Content-Length: 9\r\n", CHUNKED[17:-2]):
                reader = read(b"HTTP/1.1 " + status + b" X\r\n" + framing + b"\r\n")
                self.assertTrue(reader.complete)
                self.assertTrue(reader.keep_alive)
                self.assertEqual(reader.length, 0)

    def test_response_to_head(self) -> None:
        """A HEAD's response ends with its head; the next one is read as usual."""
        for head in (OK[:-2], CHUNKED, EMPTY, b"HTTP/1.1 200 OK\r\n\r\n"):
            for split in range(len(head)):
                reader = read(head[:split], head[split:], head_only=True)
                self.assertTrue(reader.complete)
                self.assertTrue(reader.keep_alive)
                self.assertEqual(reader.length, 0)
            reader.expect(head_only=False, upgrade=False)
            reader.feed(OK)
            self.assertEqual(reader.take_body(), b"ok")

    def test_body_where_none_belongs(self) -> None:
        """It is dropped, and the connection with it; the response is good."""
        no_content = b"HTTP/1.1 204 X\r\nContent-Length: 2\r\n\r\n"
        for head, body in (
            (OK[:-2], b"ok"),
            (CHUNKED, b"2\r\nok\r\n0\r\n\r\n"),
            (CHUNKED, b"2"),
            (CHUNKED, b"0\r\n\r\n"),
            (CHUNKED, b"zz"),
            (EMPTY, EMPTY),
            (EMPTY, b"x"),
            (b"HTTP/1.1 200 OK\r\n\r\n", b"ok\r\n\r\n"),
            (no_content, b"ok"),
            (no_content, EMPTY),
        ):
            reader = read(head + body, head_only=head is not no_content)
            self.assertTrue(reader.complete)
            self.assertFalse(reader.keep_alive, (head, body))
            self.assertEqual(reader.take_body(), b"")


class KeepAliveTests(SynchronousTestCase):
    """Whether the connection may be used again."""

    def keeps(self, line: bytes, fields: bytes) -> bool:
        """Tell, for a response with a length and for one to a HEAD."""
        answer = line + b" 200 OK\r\n" + fields + b"Content-Length: 0\r\n\r\n"
        whole, head = read(answer), read(answer, head_only=True)
        self.assertTrue(whole.complete)
        self.assertEqual(whole.keep_alive, head.keep_alive)
        return whole.keep_alive

    def test_close(self) -> None:
        """Not after a Connection that says close, on whichever line."""
        self.assertTrue(self.keeps(b"HTTP/1.1", b""))
        self.assertTrue(self.keeps(b"HTTP/1.1", b"Connection: x\r\n"))
        for fields in (
            b"Connection: close\r\n",
            b"Connection: X, CLOSE\r\n",
            b"Connection: keep-alive\r\nConnection: close\r\n",
        ):
            self.assertFalse(self.keeps(b"HTTP/1.1", fields))

    def test_http_1_0(self) -> None:
        """Not after a response of HTTP/1.0."""
        self.assertFalse(self.keeps(b"HTTP/1.0", b""))
        self.assertEqual(read(b"HTTP/1.0 200 OK\r\n\r\n").minor, 0)


class InterimTests(SynchronousTestCase):
    """Responses that precede the final one."""

    def test_all_are_kept(self) -> None:
        """Each 1xx is there, in order, known or not, with its own fields."""
        reader = read(
            b"HTTP/1.1 100 Continue\r\n\r\n"
            b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"
            b"HTTP/1.1 103 Early Hints\r\nLink: b\r\n\r\n"
            b"HTTP/1.1 199 Odd\r\n\r\n" + OK
        )
        self.assertEqual(
            reader.interims,
            [
                ResponseHead(100, b"Continue"),
                ResponseHead(103, b"Early Hints", ((b"Link", b"a"),)),
                ResponseHead(103, b"Early Hints", ((b"Link", b"b"),)),
                ResponseHead(199, b"Odd"),
            ],
        )
        self.assertEqual(reader.take_body(), b"ok")

    def test_before_a_head(self) -> None:
        """The response to a HEAD may have them, too."""
        reader = read(b"HTTP/1.1 103 Hm\r\n\r\n" + OK[:-2], head_only=True)
        self.assertEqual(len(reader.interims), 1)
        self.assertTrue(reader.complete)
        self.assertTrue(reader.keep_alive)

    def test_none_has_a_body(self) -> None:
        """An interim response with one is refused."""
        for head in (
            b"HTTP/1.1 104 X\r\nContent-Length: 2\r\n\r\nok",
            b"HTTP/1.1 104 X\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ):
            with self.assertRaises(CoreBrokenError):
                read(head + OK)

    def test_switching_protocols(self) -> None:
        """After a 101 that was asked for, the rest is not HTTP."""
        head = b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
        reader = read(head + b"\x00raw", upgrade=True)
        self.assertEqual(reader.head and reader.head.status, 101)
        self.assertEqual(reader.take_body(), b"\x00raw")
        self.assertFalse(reader.complete)
        with self.assertRaises(CoreBrokenError):
            read(head)
        with self.assertRaises(CoreBrokenError):
            read(b"HTTP/1.1 101 Go\r\n\r\n", upgrade=True)


class RefusalTests(SynchronousTestCase):
    """What is not HTTP, or could be read in two ways."""

    def test_refused(self) -> None:
        """Each of these breaks the exchange."""
        for answer in (
            b"\x16\x03\x01garbage",
            b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 99 OK\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
            head_with(b"Content-Length: 2"),
            head_with(b"Content-Length: 3"),
            head_with(b"Transfer-Encoding: chunked"),
            head_with(b"X: a\r\n folded"),
            head_with(b"X : a"),
            head_with(b"X: a\0"),
            head_with(b"X: a\rb"),
            b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\nok",
            CHUNKED[:-2] + b"Content-Length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            CHUNKED[:-2] + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nok",
            b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            CHUNKED + b"zz\r\n",
            CHUNKED + b"-1\r\n",
            CHUNKED + b"1\r\nok\r\n",
            CHUNKED + b"0\r\nContent-Length: 1\r\n\r\n",
            CHUNKED + b"0\r\nTransfer-Encoding: gzip\r\n\r\n",
        ):
            with self.assertRaises(CoreBrokenError, msg=repr(answer)):
                read(answer)

    def test_more_than_its_length(self) -> None:
        """Bytes after the end are refused, even if they look like a response."""
        for rest in (b"x", b"HTTP/1.1", OK, b"\r\nx"):
            with self.assertRaises(CoreBrokenError):
                read(OK + rest)
            with self.assertRaises(CoreBrokenError):
                read(CHUNKED + b"0\r\n\r\n" + rest)


def _framed(body: list[bytes], trailers: list[bytes], how: str) -> bytes:
    if how == "chunked":
        chunks = b"".join(b"%x;e\r\n%b\r\n" % (len(piece), piece) for piece in body)
        lines = b"".join(b"X-T: %b\r\n" % value for value in trailers)
        return CHUNKED + chunks + b"0\r\n" + lines + b"\r\n"
    whole = b"".join(body)
    if how == "length":
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(whole), whole)
    return b"HTTP/1.0 200 OK\r\n\r\n" + whole


class SplitTests(SynchronousTestCase):
    """How the bytes are cut up on the way must not matter."""

    @given(
        body=st.lists(st.binary(min_size=1, max_size=20), max_size=4),
        trailers=st.lists(st.sampled_from([b"", b"a", b"b c"]), max_size=2),
        how=st.sampled_from(["chunked", "length", "close"]),
        interims=st.integers(0, 2),
        cuts=st.sets(st.integers(0, 300), max_size=12),
    )
    def test_any_split_reads_the_same(
        self,
        body: list[bytes],
        trailers: list[bytes],
        how: str,
        interims: int,
        cuts: set[int],
    ) -> None:
        """Cut anywhere, or not at all, the response is the same."""
        wire = b"HTTP/1.1 103 Hm\r\nLink: a\r\n\r\n" * interims
        wire += _framed(body, trailers, how)
        ends = [*sorted(cut for cut in cuts if cut < len(wire)), len(wire)]
        starts = [0, *ends[:-1]]
        pieces = [wire[a:b] for a, b in zip(starts, ends, strict=True)]
        reader = read(*pieces)
        self.assertEqual(reader.take_body(), b"".join(body))
        self.assertEqual(len(reader.interims), interims)
        self.assertEqual(reader.complete, how != "close")
        self.assertEqual(reader.ends_with_stream, how == "close")
        self.assertEqual(
            reader.trailers,
            [(b"X-T", value) for value in trailers] if how == "chunked" else [],
        )
