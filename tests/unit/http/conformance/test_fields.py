"""Header fields: names, values and their lines."""

from tests.unit.http.wire import ConformanceTestCase, Good, Row, bad, get, message, seen

HOST = (b"host", b"h")
#: Characters that end names or stand in none (RFC 9110, section 5.6.2).
DELIMITERS = b'"(),/;<=>?@[\\]{}'
CONTROLS = bytes([*range(0x09), 0x0B, 0x0C, *range(0x0E, 0x20), 0x7F])


def taken(line: bytes, name: bytes, value: bytes) -> Good:
    """Expect a field."""
    return Good(get(line), [seen(b"GET", b"/", [HOST, (name, value)])])


VALUES = [
    taken(b"X: 1", b"X", b"1"),
    taken(b"X:1", b"X", b"1"),
    taken(b"X:\t 1\t ", b"X", b"1"),
    taken(b"X:", b"X", b""),
    taken(b"X:  \t", b"X", b""),
    taken(b"X: a\tb  c", b"X", b"a\tb  c"),
    taken(b"X: a:b", b"X", b"a:b"),
    taken(b"X: :", b"X", b":"),
    taken(b'X: "a\\"(),/;<=>?@[]{}', b"X", b'"a\\"(),/;<=>?@[]{}'),
    taken(b"X: caf\xe9 \x80\xff", b"X", b"caf\xe9 \x80\xff"),
    taken(b"X: caf\xc3\xa9", b"X", b"caf\xc3\xa9"),
    taken(b"X: \xa0", b"X", b"\xa0"),
]
NAMES = [
    taken(b"!#$%&'*+-.^_`|~09azAZ: 1", b"!#$%&'*+-.^_`|~09azAZ", b"1"),
    taken(b"1: 1", b"1", b"1"),
    taken(b"x_y: 1", b"x_y", b"1"),
    Good(
        get(b"X: 1", b"x: 2", b"X: 1"),
        [seen(b"GET", b"/", [HOST, (b"x", b"1"), (b"x", b"2"), (b"x", b"1")])],
    ),
]
#: RFC 9112, section 5.1: white space before the colon is always refused.
SPACES = bad(
    [get(line) for line in (b"X : 1", b"X\t: 1", b"X  : 1", b"X\x0b: 1", b"X\xa0: 1")]
    + [
        message(b"GET / HTTP/1.1", line, b"Host: h")
        for line in (b"Host : h", b"Content-Length : 5", b"Transfer-Encoding : chunked")
    ]
)
NO_NAMES = bad(
    [get(b"X%cY: 1" % char) for char in DELIMITERS]
    + [get(b"X%cY: 1" % char) for char in CONTROLS]
    + [get(line) for line in (b": 1", b" : 1", b"X Y: 1", b"X\xe9: 1", b"\xff: 1")]
)
NO_COLON = bad([get(line) for line in (b"X", b"X 1", b"X=1", b"GET / HTTP/1.1")])
#: RFC 9110, section 5.5, forbids CR, LF and NUL; we take no other control either.
NO_VALUES = bad(
    [get(b"X: a%cb" % char) for char in CONTROLS]
    + [get(b"X:%c" % char) for char in CONTROLS]
    + [
        get(line)
        for line in (
            b"X: a\rb",
            b"X: a\nY: b",
            b"X: a\r\rb",
            b"X: a\r\r",
            b"X: a\n",
            b"X:\rY: b",
            b"X: a\n\nGET /smuggled HTTP/1.1",
        )
    ]
)
#: RFC 9112, section 5.2.
FOLDED = bad(
    [
        get(line)
        for line in (
            b"X: a\r\n b",
            b"X: a\r\n\tb",
            b"X: a\r\n b\r\nY: c",
            b"X:\r\n a",
            b"X: a\r\n ",
            b"X: a\r\n \r\n b",
            b"X: a\n b",
        )
    ]
    + [
        message(b"GET / HTTP/1.1", *lines)
        for lines in (
            (b" X: 1", b"Host: h"),
            (b"\tX: 1", b"Host: h"),
            (b" Host: h",),
            (b" ", b"Host: h"),
            (b"Host:", b" h"),
            (b"Host: h", b"Content-Length:", b" 5"),
            (b"Host: h", b"Transfer-Encoding:", b" chunked"),
        )
    ]
)

ROWS: list[Row] = [
    *VALUES,
    *NAMES,
    *SPACES,
    *NO_NAMES,
    *NO_COLON,
    *NO_VALUES,
    *FOLDED,
]


class FieldTests(ConformanceTestCase):
    """RFC 9110, section 5, and RFC 9112, section 5."""

    def test_values_are_seen_without_the_space_around(self) -> None:
        """What is in between, stays as it is."""
        self.assert_handled(VALUES)

    def test_names_are_tokens(self) -> None:
        """Fields of one name keep their order."""
        self.assert_handled(NAMES)

    def test_other_names_are_refused(self) -> None:
        """A delimiter, a control or a byte that is not ASCII, or nothing."""
        self.assert_handled(NO_NAMES)

    def test_nothing_stands_before_the_colon(self) -> None:
        """Some would ignore the white space, and some the field."""
        self.assert_handled(SPACES)

    def test_lines_have_a_colon(self) -> None:
        """There are no fields without a value."""
        self.assert_handled(NO_COLON)

    def test_values_have_no_controls(self) -> None:
        """Not within them, and not alone."""
        self.assert_handled(NO_VALUES)

    def test_lines_are_not_folded(self) -> None:
        """Neither the first nor a later one."""
        self.assert_handled(FOLDED)
