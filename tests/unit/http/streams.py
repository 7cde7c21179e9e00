"""What clients might send: requests in order, odd ones, and damaged ones."""

import os
from itertools import pairwise

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

#: Set to a number of examples for a long run, each time with other ones.
EXAMPLES = "HTTP_TEST_EXAMPLES"

METHODS = (b"GET", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH")
ODD_METHODS = (b"HEAD", b"get", b"CONNECT", b"G@T", b"", b"X-Y", b"GET ", b"PRI")
TARGETS = (b"/", b"/a", b"/a/b?c=d", b"/%41%", b"//h/a", b"/a;b=c,d")
ODD_TARGETS = (
    b"*",
    b"http://h/a",
    b"http://other",
    b"http://u@h/",
    b"https://h/",
    b"h:80",
    b"/a#b",
    b"/a b",
    b"/\x7f",
    b"/\xe9",
    b"/a\\b|c",
    b"",
)
ODD_VERSIONS = (
    b"HTTP/1.0",
    b"HTTP/1.2",
    b"HTTP/2.0",
    b"HTTP/0.9",
    b"http/1.1",
    b"HTTP/1.1 ",
    b"HTTP/11",
    b"",
)
FIELDS = (
    b"A: b",
    b"a: c",
    b"Cookie: x=y; z=1",
    b"Empty:",
    b"X:\tcaf\xe9 \t",
    b"Connection: close",
    b"Connection: keep-alive, x",
)
ODD_FIELDS = (
    b"Host: h",
    b"Host: a b",
    b"Host: u@h",
    b"Host: [::1]:80",
    b"Host:",
    b"A : b",
    b" A: b",
    b"A: b\r\n c",
    b"A: b\rc",
    b"A: b\nc: d",
    b"A: \0",
    b"A: \x01",
    b"A\0: b",
    b": b",
    b"A",
    b"A(: b",
    b"Expect: 100-continue",
    b"Expect: something",
    b"Upgrade: h2c\r\nConnection: Upgrade",
    b"Upgrade: websocket\r\nConnection: Upgrade",
    b"TE: chunked",
    b"Transfer_Encoding: chunked",
    b"Content-Length: 3",
    b"Content-Length: 0",
    b"Content-Length: +3",
    b"Content-Length: 3, 3",
    b"Content-Length: 003",
    b"Content-Length:",
    b"Content-Length: 18446744073709551617",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: Chunked",
    b"Transfer-Encoding: identity",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: chunked, identity",
    b"Transfer-Encoding: x\x0bchunked",
)
BODIES = (
    b"",
    b"abc",
    b"\r\n\r\n",
    b"0\r\n\r\n",
    b"GET /in HTTP/1.1\r\nHost: h\r\n\r\n",
)
ODD_SIZES = (
    b"0x%x",
    b"+%x",
    b"%x ",
    b" %x",
    b"%x\n",
    b"0%x",
    b"%X;a=b",
    b"%x;",
    b"%xg",
)
EXTENSIONS = (b";a", b";a=b", b';a="b"', b" ;a", b";a\rb", b";a\n", b';a="\r\n"')
ENDS = (b"\n", b"\r", b"", b"\r\n\r\n", b"x")
TRAILERS = (
    b"T: 1\r\n",
    b"Content-Length: 9\r\n",
    b"T : 1\r\n",
    b"T: 1\n",
    b" T: 1\r\n",
)
#: What a damaged stream has too much of.
DAMAGE = (
    *(b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\0", b" ", b"\t", b":", b",", b";"),
    *(b"0", b"1", b"f", b"\x7f", b"\xff", b"\x0b", b"HTTP/1.1", b"chunked", b"GET"),
    *(b"\r\nContent-Length: 5", b"\r\nTransfer-Encoding: chunked", b"0\r\n\r\n"),
)


def bounded(examples: int) -> settings:
    """
    Bound a test.

    :param examples: how many to try, always the same ones, unless the environment
        asks for another number.
    """
    wanted = os.environ.get(EXAMPLES)
    return settings(
        max_examples=int(wanted or examples),
        derandomize=wanted is None,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )


def mostly(
    usual: tuple[bytes, ...], odd: tuple[bytes, ...]
) -> st.SearchStrategy[bytes]:
    """Choose an odd one about once in twelve times."""
    return st.sampled_from(usual * (11 * len(odd) // len(usual) + 1) + odd)


METHOD = mostly(METHODS, ODD_METHODS)
TARGET = mostly(TARGETS, ODD_TARGETS)
VERSION = mostly((b"HTTP/1.1",), ODD_VERSIONS)
FIRST_FIELD = mostly((b"Host: h",), (b"X: y", b"Host: i"))
OTHER_FIELDS = st.lists(mostly(FIELDS, ODD_FIELDS), max_size=3)
SPACE = mostly((b" ",), (b"  ", b"\t", b""))
FRAMING = st.sampled_from(("none", "length", "chunks"))
BODY = st.sampled_from(BODIES)
PIECES = st.lists(st.sampled_from(BODIES[1:]), max_size=3)
SIZE = mostly((b"%x",), ODD_SIZES)
EXTENSION = mostly((b"",), EXTENSIONS)
END = mostly((b"\r\n",), ENDS)
TRAILER = mostly((b"",), TRAILERS)


@st.composite
def chunks(draw: st.DrawFn) -> bytes:
    """Write a body in chunks."""
    text = b""
    for piece in draw(PIECES):
        size = draw(SIZE) % len(piece)
        text += size + draw(EXTENSION) + b"\r\n" + piece + draw(END)
    return text + b"0\r\n" + draw(TRAILER) + b"\r\n"


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Write a request, which may be odd here and there."""
    line = draw(METHOD) + draw(SPACE) + draw(TARGET) + b" " + draw(VERSION)
    fields = [draw(FIRST_FIELD), *draw(OTHER_FIELDS)]
    framing = draw(FRAMING)
    body = b""
    if framing == "length":
        body = draw(BODY)
        fields.append(b"Content-Length: %d" % len(body))
    elif framing == "chunks":
        body = draw(chunks())
        fields.append(b"Transfer-Encoding: chunked")
    return b"\r\n".join([line, *fields, b"", body])


@st.composite
def damaged(draw: st.DrawFn, streams: st.SearchStrategy[bytes]) -> bytes:
    """Cut something out of a stream, put something in, or repeat a part."""
    stream = draw(streams)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(stream)))
        end = min(start + draw(st.integers(0, 8)), len(stream))
        part = draw(st.sampled_from(DAMAGE) | st.just(stream[start:end] * 2))
        stream = stream[:start] + part + stream[end:]
    return stream


PIPELINES = st.lists(requests(), min_size=1, max_size=3).map(b"".join)
STREAMS = PIPELINES | damaged(PIPELINES)


@st.composite
def segments(draw: st.DrawFn, streams: st.SearchStrategy[bytes]) -> list[bytes]:
    """Cut a stream at a few places, or into single bytes."""
    stream = draw(streams)
    places = draw(st.none() | st.lists(st.integers(0, len(stream)), max_size=4))
    cuts = range(len(stream)) if places is None else sorted(places)
    edges = [0, *cuts, len(stream)]
    return [stream[a:b] for a, b in pairwise(edges) if a < b]
