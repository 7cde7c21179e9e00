"""Bodies in chunks: sizes, extensions, data and trailers."""

from tests.unit.http.wire import (
    FOLLOWER,
    ConformanceTestCase,
    Good,
    Row,
    bad,
    either,
    post,
    seen,
)

FIELDS = [(b"host", b"h"), (b"transfer-encoding", b"chunked")]


def chunked(body: bytes) -> bytes:
    """Write a request with a body in chunks."""
    return post(b"Transfer-Encoding: chunked", body=body)


def sized(size: bytes) -> bytes:
    """Write a request with one chunk of five bytes, its size written so."""
    return chunked(size + b"\r\nhello\r\n0\r\n\r\n")


def ended(end: bytes) -> bytes:
    """Write a request with one chunk, and this after its data."""
    return chunked(b"5\r\nhello" + end)


def read(message: bytes, body: bytes = b"hello") -> Good:
    """Expect this body."""
    return Good(message, [seen(b"POST", b"/", FIELDS, body)])


SIZES = [
    read(sized(b"5")),
    read(sized(b"05")),
    read(sized(b"0000005")),
    read(chunked(b"a\r\n0123456789\r\n0\r\n\r\n"), b"0123456789"),
    read(chunked(b"A\r\n0123456789\r\n0\r\n\r\n"), b"0123456789"),
    read(chunked(b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n"), b"abc"),
    read(chunked(b"0\r\n\r\n"), b""),
    read(chunked(b"000\r\n\r\n"), b""),
    read(chunked(b"2\r\n\r\n\r\n0\r\n\r\n"), b"\r\n"),
    read(chunked(b"5\r\n0\r\n\r\n\r\n0\r\n\r\n"), b"0\r\n\r\n"),
    read(chunked(b"%x\r\n%b\r\n0\r\n\r\n" % (len(FOLLOWER), FOLLOWER)), FOLLOWER),
]
#: RFC 9112, section 7.1, sets no bound to the digits.
MANY_DIGITS = either(
    [read(sized(b"0" * zeros + b"5")) for zeros in (14, 15, 16, 40)], 400, 413
)
NO_SIZES = bad(
    [
        sized(size)
        for size in (
            b"",
            b"0x5",
            b"0X5",
            b"+5",
            b"-5",
            b"-0",
            b" 5",
            b"\t5",
            b"5 ",
            b"5\t",
            b"5 5",
            b"5_0",
            b"5.0",
            b"5g",
            b"g",
            b"5,",
            b'"5"',
            b"5\0",
            b"\x005",
            b"5\xa0",
            b"\xb5",
            b"5\x0b",
            b"5h",
            b"\r\n5",
            b";a=b",
            b":5",
        )
    ]
)
HUGE = bad(
    [
        sized(size)
        for size in (
            b"7fffffffffffffff",
            b"ffffffffffffffff",
            b"10000000000000005",
            b"ffffffffffffffff5",
            b"f" * 60,
        )
    ],
    400,
    413,
)

EXTENSIONS = [
    read(sized(b"5" + extension))
    for extension in (b";a", b";a=b", b";a=b;c=d", b';a="b c"', b';a="b;c"')
]
QUOTED = [read(sized(b'5;a="\\""')), read(sized(b'5;a=""'))]
#: White space that RFC 9112, section 7.1.1, calls bad, and has recipients parse.
SPACED = [
    read(sized(b"5" + extension))
    for extension in (
        b" ;a=b",
        b"; a=b",
        b"\t ; \ta",
        b";a =b",
        b";a= b",
        b';a \t=\t "b" ; c',
        b"; a ;b ; c = d",
    )
] + [
    read(chunked(b"5\r\nhello\r\n0 ; a = b\r\n\r\n")),
    read(chunked(b"5 ;a\r\nhello\r\n000 ;a\r\nX: 1\r\n\r\n")),
]
#: It belongs to an extension: what has none has no white space, either.
SPACES_ALONE = bad(
    [
        sized(b"5" + extension)
        for extension in (
            b" ",
            b";a ",
            b";a=b\t",
            b' ;a="b" ',
            b" ; ",
            b" ;",
            b" ; ;a",
            b";a= ",
            b";a = ;b",
            b";a= =b",
            b" a",
            b" =b",
            b" ;a b",
            b" \n;a",
            b" \r;a",
            b"\x0b;a",
            b"\xa0;a",
        )
    ]
)
ODD_EXTENSIONS = either(
    [read(sized(b"5" + extension)) for extension in (b";", b";;", b";=b")]
)
NO_EXTENSIONS = bad(
    [
        sized(b"5" + extension)
        for extension in (
            b";a\nhello",
            b";\n",
            b";a=b\n",
            b";a\rb",
            b";a\r",
            b";a\0b",
            b";a=\x01",
            b';a="\r\nhello\r\n0\r\n\r\n"',
            b';a="b\nc"',
            b';a="b\x00c"',
            b";a=b c",
            b' a="b"',
        )
    ]
)
GIANT = bad([sized(b"5;a=" + b"b" * 20000), sized(b"5" + b";a" * 10000)], 400, 413, 431)

NO_ENDS = bad(
    [
        chunked(b"5\nhello\r\n0\r\n\r\n"),
        chunked(b"5\rhello\r\n0\r\n\r\n"),
        chunked(b"5\r\r\nhello\r\n0\r\n\r\n"),
        ended(b"\n0\r\n\r\n"),
        ended(b"\r0\r\n\r\n"),
        ended(b"\r\r\n0\r\n\r\n"),
        ended(b"0\r\n\r\n"),
        ended(b"x\r\n0\r\n\r\n"),
        ended(b"\rx0\r\n\r\n"),
        ended(b"\r\n\r\n0\r\n\r\n"),
        ended(b"\r\n0\n\r\n"),
        ended(b"\r\n0\r\n\n"),
        ended(b"\r\n0\n\n"),
        ended(b"\r\n0\r\r\n\r\n"),
        ended(b"\r\n0 \r\n\r\n"),
        ended(b"\r\n-0\r\n\r\n"),
    ]
)
UNFINISHED = bad([ended(b"\r\n0\r\n\rx"), ended(b"\r\n0\r")], waits=True)


def trailed(*lines: bytes) -> bytes:
    """Write a request with trailers."""
    return ended(b"\r\n0\r\n" + b"\r\n".join([*lines, b"", b""]))


#: Nothing of these gets among the fields of the head.
TRAILERS = [
    read(trailed(b"X-Sum: 1")),
    read(trailed(b"A: b", b"A: c", b"Empty:")),
    read(trailed(b"X: caf\xe9\tau lait")),
]
#: RFC 9110, section 6.5.1: no trailer says how a message is framed or routed.
FORBIDDEN = either(
    [
        read(trailed(line))
        for line in (
            b"Content-Length: 5",
            b"Transfer-Encoding: chunked",
            b"Host: other",
            b"Connection: close",
            b"Authorization: Basic eDp5",
        )
    ]
)
NO_TRAILERS = bad(
    [
        trailed(line)
        for line in (
            b"X : 1",
            b"X\t: 1",
            b": 1",
            b"X",
            b" X: 1",
            b"X: 1\r\n 2",
            b"X: 1\r\n\t2",
            b"X: 1\nY: 2",
            b"X: 1\rY: 2",
            b"X: \0",
            b"X: \x01",
            b"X: \x7f",
            b"X\0: 1",
            b"X Y: 1",
            b"X\xe9: 1",
            b"GET / HTTP/1.1",
        )
    ]
)
GIANT_TRAILERS = bad(
    [
        trailed(b"X: " + b"a" * 33000),
        trailed(*[b"X: 1"] * 150),
        trailed(b"X" * 257 + b": 1"),
    ],
    400,
    413,
    431,
)

ROWS: list[Row] = [
    *SIZES,
    *MANY_DIGITS,
    *NO_SIZES,
    *HUGE,
    *EXTENSIONS,
    *QUOTED,
    *SPACED,
    *SPACES_ALONE,
    *ODD_EXTENSIONS,
    *NO_EXTENSIONS,
    *GIANT,
    *NO_ENDS,
    *UNFINISHED,
    *TRAILERS,
    *FORBIDDEN,
    *NO_TRAILERS,
    *GIANT_TRAILERS,
]


class SizeTests(ConformanceTestCase):
    """RFC 9112, section 7.1."""

    def test_sizes_are_hexadecimal(self) -> None:
        """In either case, with zeros before them or not."""
        self.assert_handled(SIZES)

    def test_zeros_do_not_overflow(self) -> None:
        """However many there are, it is the same size, or none."""
        self.assert_handled(MANY_DIGITS)

    def test_sizes_are_digits_only(self) -> None:
        """No sign, no prefix, no white space."""
        self.assert_handled(NO_SIZES)

    def test_huge_sizes_do_not_overflow(self) -> None:
        """They are too much, in any arithmetic."""
        self.assert_handled(HUGE)

    def test_lines_and_data_end_with_both_characters(self) -> None:
        """The data is as long as announced, and nothing follows but a line end."""
        self.assert_handled(NO_ENDS)

    def test_bare_return_ends_nothing(self) -> None:
        """There may be more to come, which does not make it better."""
        self.assert_handled(UNFINISHED)


class ExtensionTests(ConformanceTestCase):
    """RFC 9112, section 7.1.1."""

    def test_extensions_are_ignored(self) -> None:
        """Nobody has defined one."""
        self.assert_handled(EXTENSIONS)

    def test_quoted_values_are_ignored(self) -> None:
        """An escaped quotation mark does not end one."""
        self.assert_handled(QUOTED)

    def test_white_space_around_separators_is_skipped(self) -> None:
        """Around semicolons and equals signs, as old senders write it."""
        self.assert_handled(SPACED)

    def test_white_space_belongs_to_an_extension(self) -> None:
        """Anywhere else, readers differ on what it is."""
        self.assert_handled(SPACES_ALONE)

    def test_odd_extensions_change_nothing(self) -> None:
        """They are skipped or refused."""
        self.assert_handled(ODD_EXTENSIONS)

    def test_extensions_have_no_lines_of_their_own(self) -> None:
        """A line end within one ends the line for some, and not for others."""
        self.assert_handled(NO_EXTENSIONS)

    def test_giant_extensions_are_refused(self) -> None:
        """They would get round every limit."""
        self.assert_handled(GIANT)


class TrailerTests(ConformanceTestCase):
    """RFC 9112, section 7.1.2."""

    def test_trailers_are_no_header_fields(self) -> None:
        """An application that looks at the head does not see them."""
        self.assert_handled(TRAILERS)

    def test_trailers_frame_nothing(self) -> None:
        """They are ignored or refused."""
        self.assert_handled(FORBIDDEN)

    def test_trailers_are_fields(self) -> None:
        """What is refused in a head is refused here."""
        self.assert_handled(NO_TRAILERS)

    def test_giant_trailers_are_refused(self) -> None:
        """They have the limits of a head."""
        self.assert_handled(GIANT_TRAILERS)
