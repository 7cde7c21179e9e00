"""
The engine against another parser: what it lets in, h11 reads in the same way.

It may be stricter than h11, for the reasons that :func:`stricter` lists, and is
never laxer.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

import h11
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.http.connection_limits import Limits
from tests.unit.http.conformance.corpus import ANY_MESSAGE, MESSAGES
from tests.unit.http.streams import STREAMS, bounded, damaged, segments
from tests.unit.http.wire import FOLLOWER, Conversation, Outcome, Seen, seen

MIB = 1024 * 1024
_FOLD = re.compile(rb"\n[ \t]")
_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")
_CONTROL = re.compile(rb"[\0-\x08\x0b\x0c\x0e-\x1f\x7f]")
_NAME = rb"[-!#$%&'*+.^_`|~0-9A-Za-z]+"
_QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e]|\\[\t -~])*"'
_CHUNK = re.compile(
    rb"[0-9A-Fa-f]{1,15}(?:[ \t]*;[ \t]*%b(?:[ \t]*=[ \t]*(?:%b|%b))?)*"
    % (_NAME, _NAME, _QUOTED)
)
#: White space in front of a chunk's extensions, which h11 refuses there although RFC
#: 9112, section 7.1.1, has recipients parse it.
_SPACED = re.compile(rb"(?m)^([0-9A-Fa-f]{1,15})([ \t]+);")
_PATH = rb"/(?:[-._~!$&'()*+,;=:@%%/?0-9A-Za-z])*"
_HOST = rb"(?:[-._~!$&'()*+,;=0-9A-Za-z]|%%[0-9A-Fa-f]{2})*|\[[0-9A-Fa-f:.]+\]"
_AUTHORITY = re.compile(rb"(?:%b)(?::[0-9]*)?" % _HOST)
_TARGET = re.compile(
    rb"%b|http://(?:[-.0-9A-Za-z]+)(?::[0-9]+)?(?:%b)?" % (_PATH, _PATH)
)
_METHODS = {b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE"}
_DIGITS = re.compile(rb"[0-9]{21}")
#: As llhttp reads it: no tab, and no empty element of the list.
_CODING = re.compile(rb"(?im)^transfer-encoding: *chunked *\r?$")
_LONG_NAME = re.compile(rb"(?m)^[^\r\n: ]{257}")
#: Fields that a trailer may not be (RFC 9110, section 6.5.1).
_NO_TRAILER = re.compile(rb"(?im)^(?:content-length|transfer-encoding|host):")


class Message(NamedTuple):
    """
    A request as h11 has read it.

    :ivar raw: its bytes.
    :ivar version: the version's digits, such as ``b"1.1"``.
    """

    raw: bytes
    version: bytes
    request: Seen

    def values(self, name: bytes) -> list[bytes]:
        """Find the values of a field, given its name in lower case."""
        head = self.raw.replace(b"\r\n", b"\n").partition(b"\n\n")[0]
        pairs = (line.partition(b":") for line in head.split(b"\n")[1:])
        return [value.strip() for known, _, value in pairs if known.lower() == name]

    @property
    def persists(self) -> bool:
        """Whether another request may follow (RFC 9112, section 9.3)."""
        lines = b",".join(self.values(b"connection")).lower().split(b",")
        options = {option.strip() for option in lines}
        if self.version == b"1.0":
            return b"keep-alive" in options and b"close" not in options
        return b"close" not in options


class Verdict(NamedTuple):
    """
    How h11 reads a stream.

    :ivar refused: whether it found something that it cannot read after those.
    :ivar rest: what it has not read.
    """

    messages: list[Message]
    refused: bool
    rest: bytes


def judge(stream: bytes) -> Verdict:
    """Return h11's verdict on a stream."""
    messages: list[Message] = []
    while not messages or messages[-1].persists:
        # h11 does not skip the empty lines that RFC 9112, section 2.2, has skipped.
        while stream.startswith(b"\r\n"):
            stream = stream[2:]
        if stream in {b"", b"\r"}:
            break
        try:
            message = read_spaced(stream)
        except h11.RemoteProtocolError:
            return Verdict(messages, True, stream)
        if message is None:
            break
        messages.append(message)
        stream = stream[len(message.raw) :]
    return Verdict(messages, False, stream)


def read_spaced(stream: bytes) -> Message | None:
    """
    Parse a request by h11, after moving white space in chunk heads if need be.

    :raises h11.RemoteProtocolError: if it is none.
    """
    try:
        return read(stream)
    except h11.RemoteProtocolError:
        return read(_SPACED.sub(rb"\1;\2", stream))


def read(stream: bytes) -> Message | None:
    """
    Parse the first request of a stream by h11; return None if it is incomplete.

    :raises h11.RemoteProtocolError: if it is none.
    """
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MIB)
    connection.receive_data(stream)
    head, body = None, b""
    while True:
        happened = connection.next_event()
        if happened is h11.NEED_DATA or isinstance(happened, h11.ConnectionClosed):
            return None
        if isinstance(happened, h11.Request):
            head = happened
        elif isinstance(happened, h11.Data):
            body += happened.data
        elif isinstance(happened, h11.EndOfMessage):
            break
    assert head is not None
    left = len(connection.trailing_data[0])
    fields = [normal(*field) for field in head.headers.raw_items()]
    request = seen(bytes(head.method), bytes(head.target), fields, body)
    return Message(stream[: len(stream) - left], head.http_version, origin(request))


def origin(request: Seen) -> Seen:
    """Write a URL as path and ``Host``, as RFC 9112, section 3.2.2, has them read."""
    url = re.fullmatch(rb"https?://([^/?]*)(.*)", request.target)
    if url is None:
        return request
    path = url[2] if url[2].startswith(b"/") else b"/" + url[2]
    if request.method == b"OPTIONS" and not url[2]:
        path = b"*"
    fields = [
        (name, url[1] if name.lower() == b"host" else value)
        for name, value in request.fields
    ]
    return request._replace(target=path, fields=sorted(fields))


def normal(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    """Write the one field as h11 does, which changes the case of its value."""
    is_coding = name.lower() == b"transfer-encoding"
    return bytes(name), bytes(value).lower() if is_coding else bytes(value)


def stricter(message: Message) -> list[str]:
    """Return the reasons why the engine may refuse what h11 has read."""
    head, lines, trailers = framing(message)
    reasons = {
        # RFC 9112, sections 2.2 and 5.2, let a server read these, or refuse them.
        "bare CR or LF": _BARE.search(head) or _BARE.search(trailers),
        "obs-fold": _FOLD.search(head) or _FOLD.search(trailers),
        # RFC 9110, section 5.5, lets it keep controls other than CR, LF and NUL.
        "control": _CONTROL.search(head) or _CONTROL.search(trailers),
        # h11 leaves these to who uses it.
        "method": message.request.method not in _METHODS,
        "target": not is_usual(message),
        "version": message.version not in {b"1.0", b"1.1"},
        "host": not all(map(_AUTHORITY.fullmatch, message.values(b"host"))),
        "expectation": set(message.values(b"expect")) - {b"100-continue"},
        # h11 reads anything after the semicolon, and white space at the line's end.
        "chunk extension": not all(map(_CHUNK.fullmatch, lines)),
        # Somebody on the way may have taken it for a field of the head.
        "trailer": _NO_TRAILER.search(trailers),
        "long name": _LONG_NAME.search(message.raw),
        "too many trailers": trailers.count(b"\n") > Limits().fields,
    }
    return [*(name for name, holds in reasons.items() if holds), *ambiguous(message)]


def ambiguous(message: Message) -> Iterator[str]:
    """Return what RFC 9112, section 6.3, lets a server read in spite of the danger."""
    lengths = message.values(b"content-length")
    if len(lengths) > 1 or b"," in b"".join(lengths):
        yield "repeated length"
    if any(len(value) > len(str(MIB)) for value in lengths):
        yield "huge length"
    if not message.values(b"transfer-encoding"):
        return
    if lengths:
        yield "length and coding"
    if message.version == b"1.0":
        yield "coding in HTTP/1.0"
    if not _CODING.search(message.raw):
        yield "oddly written coding"


def is_usual(message: Message) -> bool:
    """Return whether a target must be taken (RFC 9112, section 3.2)."""
    method, target = message.raw.split(b" ", 2)[:2]
    if target == b"*":
        return method == b"OPTIONS"
    return _TARGET.fullmatch(target) is not None


def framing(message: Message) -> tuple[bytes, list[bytes], bytes]:
    """Take out the data: give the head, the lines of the chunks and the trailers."""
    end = re.search(rb"\n\r?\n", message.raw)
    assert end is not None
    head, rest = message.raw[: end.end()], message.raw[end.end() :]
    if not message.values(b"transfer-encoding"):
        return head, [], b""
    lines = []
    while True:
        line, _, rest = rest.partition(b"\r\n")
        lines.append(line)
        size = int(re.split(rb"[; \t]", line)[0], 16)
        if not size:
            return head, lines, rest
        rest = rest[size + 2 :]


def stars(stream: bytes) -> bool:
    """Return whether a stream may ask about the server itself."""
    return b"*" in stream or b"OPTIONS http" in stream


class DifferentialTests(SynchronousTestCase):
    """The same streams for both."""

    def assert_agreed(self, verdict: Verdict, outcome: Outcome) -> None:
        """Require that the engine has let in what h11 has, or had a reason."""
        taken = [
            request._replace(fields=[normal(*field) for field in request.fields])
            for request in outcome.requests
        ]
        count = len(taken)
        read = [message.request for message in verdict.messages]
        self.assertEqual(taken, read[:count], "read in another way")
        final = [status for status in outcome.statuses if status >= 200]
        refused = outcome.ended and len(final) == count + 1 and final[-1] >= 400
        if count < len(read):
            self.assert_has_reason(verdict.messages[: count + 1], refused=refused)
        elif verdict.refused and (not count or not outcome.ended or refused):
            self.assertTrue(refused, "h11 refuses it")
        elif not verdict.rest:
            self.assertEqual(final, [200] * count)
            kept = not verdict.messages or verdict.messages[-1].persists
            self.assertNotEqual(outcome.ended, kept, verdict.messages)

    def assert_has_reason(self, messages: list[Message], *, refused: bool) -> None:
        """Require a reason why the last of these did not reach the application."""
        if not refused:
            # RFC 9112, section 9.3, leaves it to the server.
            self.assertEqual(messages[-2].version, b"1.0", "not answered")
            return
        reasons = stricter(messages[-1])
        self.assertTrue(reasons, f"h11 reads {messages[-1].raw!r}")

    def assert_agree(self, pieces: list[bytes], *, forwarded: bool) -> None:
        """Give both parsers the same stream, and compare."""
        stream = b"".join(pieces)
        if _DIGITS.search(stream):
            return  # h11 counts the zeros of a length
        verdict = judge(stream)
        # twisted.web answers for the server itself, so that no resource sees it.
        conversation = Conversation(forwarded=forwarded or stars(stream))
        conversation.send(pieces)
        if verdict.refused and not conversation.ended:
            # Where the engine waits for the end of a line, h11 may not.
            conversation.send([b"\r\n\r\n"])
        self.assert_agreed(verdict, conversation.outcome())
        conversation.hang_up()

    @bounded(500)
    @given(segments(STREAMS), st.booleans())
    def test_streams(self, pieces: list[bytes], forwarded: bool) -> None:
        """Requests in order, odd ones and damaged ones, in segments."""
        self.assert_agree(pieces, forwarded=forwarded)

    @bounded(300)
    @given(damaged(ANY_MESSAGE), st.booleans())
    def test_damaged_messages(self, message: bytes, forwarded: bool) -> None:
        """Messages of the tables, with something more or less in them."""
        self.assert_agree([message, FOLLOWER], forwarded=forwarded)

    def test_messages(self) -> None:
        """The messages of the tables."""
        for message in MESSAGES:
            self.assert_agree([message + FOLLOWER], forwarded=True)
