"""Whatever a client sends, the engine holds little, answers in order, and ends."""

import gc
from collections.abc import Iterable
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.unit.http.conformance.corpus import ANY_MESSAGE
from tests.unit.http.streams import STREAMS, bounded, damaged, segments
from tests.unit.http.wire import FOLLOWER, Conversation, Slow, get, post

KIB = 1024
#: A read of the socket, a head, what goes to no temporary file yet, and half as
#: much again.
MOST_HELD = 192 * KIB
#: After so long a silence no connection is left, in seconds.
SILENCE = 200
CHUNKED = b"Transfer-Encoding: chunked"
#: What belongs to no connection.
SHARED = (type, ModuleType, BuiltinFunctionType, Clock)
ANYTHING = st.binary(max_size=100) | STREAMS | damaged(ANY_MESSAGE)


def held(conversation: Conversation) -> int:
    """Count the bytes that a connection holds, itself or through what it knows."""
    client = conversation.client
    pending: list[Any] = [client.channel]
    known = {id(client.transport), id(conversation.site)}
    size = 0
    while pending:
        each = pending.pop()
        if id(each) in known or isinstance(each, SHARED):
            continue
        known.add(id(each))
        if isinstance(each, bytes | bytearray):
            size += len(each)
        pending.extend(referents(each))
    return size


def referents(each: object) -> Iterable[object]:
    """Return what an object refers to, but of a function not all of its module."""
    if isinstance(each, FunctionType):
        return each.__closure__ or ()
    return gc.get_referents(each)


class FuzzTests(SynchronousTestCase):
    """Anything, in any segments."""

    def assert_orderly(self, conversation: Conversation, sent: bytes) -> None:
        """Require an answer to each request, one refusal at most, and then the end."""
        final = [reply for reply in conversation.replies() if reply.status >= 200]
        refusals = [reply for reply in final if reply.status >= 400]
        self.assertLessEqual(len(refusals), 1)
        # twisted.web answers for the server itself, so that no resource sees it.
        answers = len(conversation.requests) + sent.count(b"OPTIONS")
        self.assertLessEqual(len(final), answers + len(refusals))
        if refusals:
            self.assertIs(final[-1], refusals[0])
            self.assertTrue(conversation.ended)
        self.assertLess(held(conversation), MOST_HELD)

    def assert_ends(self, conversation: Conversation) -> None:
        """Require that silence ends the connection, and leaves no timer behind."""
        written = conversation.client.received
        ended = conversation.ended
        for _ in range(SILENCE // 10):
            conversation.clock.advance(10)
        self.assertIsNone(conversation.client.transport.protocol)
        self.assertEqual(conversation.clock.getDelayedCalls(), [])
        if ended:
            self.assertEqual(conversation.client.received, written)

    @bounded(300)
    @given(segments(ANYTHING), st.booleans())
    def test_prompt_application(self, pieces: list[bytes], forwarded: bool) -> None:
        """Each request is answered at once."""
        conversation = Conversation(forwarded=forwarded)
        conversation.send(pieces)
        self.assert_orderly(conversation, b"".join(pieces))
        self.assert_ends(conversation)

    @bounded(300)
    @given(segments(ANYTHING))
    def test_slow_application(self, pieces: list[bytes]) -> None:
        """Each request is answered when all that is read has been sent."""
        slow = Slow()
        conversation = Conversation(slow)
        conversation.send(pieces)
        while slow.answer():
            conversation.send([])
        self.assert_orderly(conversation, b"".join(pieces))
        self.assert_ends(conversation)


class FloodTests(SynchronousTestCase):
    """Much of the same, until the engine has had enough."""

    def flood(self, conversation: Conversation, piece: bytes) -> None:
        """Send a piece for as long as the site reads, 4 MiB at most."""
        sent = 0
        while sent < 4 * KIB * KIB and conversation.reading:
            conversation.send([piece])
            sent += len(piece)
            self.assertLess(held(conversation), MOST_HELD, (sent, piece[:20]))

    def assert_bounded(self, opening: bytes, pieces: Iterable[bytes]) -> None:
        """Require that each flood ends in a refusal."""
        for piece in pieces:
            conversation = Conversation()
            conversation.send([opening])
            self.flood(conversation, piece * (16 * KIB // len(piece)))
            self.assertTrue(conversation.ended, piece)
            (reply,) = conversation.replies()
            self.assertIn(reply.status, {400, 413, 414, 431, 501}, piece)
            self.assertEqual(conversation.requests, [])
            conversation.hang_up()

    def test_heads(self) -> None:
        """An endless line, or endless lines."""
        self.assert_bounded(b"", [b"A"])
        self.assert_bounded(b"GET /", [b"a", b"%20", b"?"])
        self.assert_bounded(get()[:-2], [b"A", b"A: b\r\n", b"A:\r\n"])
        self.assert_bounded(get()[:-2] + b"A: ", [b"b", b" ", b"\t"])

    def test_chunks(self) -> None:
        """Endless sizes, extensions or trailers."""
        opening = post(CHUNKED)
        self.assert_bounded(opening, [b"0"])
        self.assert_bounded(opening + b"1;", [b"a", b"a;", b"a=b;"])
        self.assert_bounded(opening + b'1;a="', [b"b", b" ", b'\\"'])
        self.assert_bounded(opening, [b"1;" + b"b" * 100 + b"\r\na\r\n"])
        self.assert_bounded(opening + b"0\r\n", [b"A: b\r\n", b"A", b"A:\r\n"])
        self.assert_bounded(opening + b"0\r\nA: ", [b"b", b" "])

    def test_empty_lines(self) -> None:
        """They are skipped or refused, but not kept."""
        conversation = Conversation()
        self.flood(conversation, b"\r\n" * 8 * KIB)
        self.assertEqual(conversation.requests, [])
        conversation.hang_up()

    def test_requests_behind_a_slow_one(self) -> None:
        """They wait in the client's socket, not here."""
        conversation = Conversation(Slow())
        self.flood(conversation, FOLLOWER * 400)
        self.assertFalse(conversation.reading)
        self.assertEqual(len(conversation.requests), 1)
        conversation.hang_up()

    def test_client_that_does_not_read(self) -> None:
        """It gets no more answers than its socket takes."""
        conversation = Conversation()
        conversation.send([FOLLOWER])
        conversation.stop_reading()
        self.flood(conversation, FOLLOWER * 400)
        self.assertFalse(conversation.reading)
        self.assertLess(len(conversation.client.received), MOST_HELD)
        conversation.hang_up()
