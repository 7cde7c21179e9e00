"""What a client may send at most, and for how long it may take."""

from clusterapp.http.connection_limits import LONGEST_NAME
from tests.unit.http.replies import Reply
from tests.unit.http.wire import (
    FOLLOWER,
    ConformanceTestCase,
    Conversation,
    Good,
    bad,
    get,
    message,
    post,
    seen,
)

KIB = 1024
MIB = 1024 * KIB
LINE = 8 * KIB
HEAD = 32 * KIB
FIELDS = 100
BODY = 16 * MIB
REQUESTS = 1000
HOST = (b"host", b"h")
CHUNKED = b"Transfer-Encoding: chunked"


def with_line(size: int) -> tuple[bytes, bytes]:
    """Write a request whose line has this size; return its target as well."""
    target = b"/" + b"a" * (size - len(b"GET / HTTP/1.1"))
    return message(b"GET " + target + b" HTTP/1.1", b"Host: h"), target


def with_fields(count: int) -> bytes:
    """Write a request with this many fields."""
    return get(*[b"X: 1"] * (count - 1))


def with_head(size: int) -> bytes:
    """Write a request whose lines have this size together, in a few fields."""
    empty = get(b"A: ", b"B: ", b"C: ", b"D: ")
    share, rest = divmod(size - len(empty), 4)
    values = [b"a" * (share + rest), *[b"a" * share] * 3]
    return get(*[b"%c: %b" % pair for pair in zip(b"ABCD", values, strict=True)])


class SizeTests(ConformanceTestCase):
    """Sizes, on both sides of each bound."""

    def test_longest_name_of_a_field(self) -> None:
        """A name of 256 bytes is read."""
        name = b"N" * LONGEST_NAME
        fields = [HOST, (name.lower(), b"1")]
        self.assert_handled(
            [Good(get(name + b": 1"), [seen(b"GET", b"/", fields)])],
        )

    def test_name_of_a_field_that_is_too_long(self) -> None:
        """It is refused, since names are kept where they are read again and again."""
        self.assert_handled(
            bad([get(b"N" * size + b": 1") for size in (LONGEST_NAME + 1, HEAD)], 431)
        )

    def test_longest_line(self) -> None:
        """A line of 8 KiB is read."""
        text, target = with_line(LINE)
        self.assert_handled([Good(text, [seen(b"GET", target, [HOST])])])

    def test_line_that_is_too_long(self) -> None:
        """RFC 9110, section 15.5.15: the target is to blame."""
        self.assert_handled(bad([with_line(LINE + 1)[0], with_line(4 * LINE)[0]], 414))

    def test_line_without_an_end(self) -> None:
        """It is refused before its end comes, and so is a method without one."""
        stream_drain = b"GET /" + b"a" * 2 * LINE
        self.assert_handled(bad([stream_drain], 414))
        self.assert_handled(bad([b"A" * 2 * LINE], 400, 414, 501))

    def test_most_fields(self) -> None:
        """A hundred are read."""
        fields = [HOST, *[(b"x", b"1")] * (FIELDS - 1)]
        self.assert_handled([Good(with_fields(FIELDS), [seen(b"GET", b"/", fields)])])

    def test_too_many_fields(self) -> None:
        """RFC 6585, section 5."""
        self.assert_handled(bad(map(with_fields, (FIELDS + 1, 1000)), 431))

    def test_largest_head(self) -> None:
        """32 KiB are read."""
        conversation = Conversation()
        conversation.send([with_head(HEAD), FOLLOWER])
        self.assertEqual(conversation.outcome().statuses, [200, 200])
        self.assertEqual(len(conversation.requests[0].fields), 5)
        conversation.hang_up()

    def test_head_that_is_too_large(self) -> None:
        """In one field or in many, with an end or without one."""
        heads = [
            with_head(HEAD + 1),
            get(b"X: " + b"a" * (HEAD + KIB)),
            get(b"X" * (HEAD + KIB) + b": 1"),
        ]
        self.assert_handled(bad(heads, 431))
        stream_drain = get(b"X: 1", b"Y: " + b"a" * 2 * HEAD)[:-4]
        # What follows belongs to it, and has a second Host.
        self.assert_handled(bad([stream_drain], 400, 431))


class BodyTests(ConformanceTestCase):
    """Bodies, on both sides of their bound."""

    def refused(self, conversation: Conversation) -> bool:
        """Whether there was a 413, and the end."""
        statuses = [reply.status for reply in conversation.replies()]
        self.assertEqual(len(conversation.requests), 0)
        return statuses == [413] and conversation.ended

    def test_announced(self) -> None:
        """A length tells at once that a body is too large."""
        self.assert_handled(bad([post(b"Content-Length: %d" % (BODY + 1))], 413))
        conversation = Conversation()
        conversation.send([post(b"Content-Length: %d" % BODY)])
        self.assertEqual(conversation.client.received, b"")
        self.assertFalse(conversation.ended)
        conversation.hang_up()

    def test_expected(self) -> None:
        """A client that asks before it sends does not send what is too large."""
        conversation = Conversation()
        conversation.send(
            [post(b"Content-Length: %d" % (BODY + 1), b"Expect: 100-continue")]
        )
        self.assertTrue(self.refused(conversation))
        conversation.hang_up()

    def test_chunked(self) -> None:
        """Chunks are counted together, without what surrounds them."""
        conversation = Conversation()
        piece = b"%x\r\n%b\r\n" % (64 * KIB, b"a" * 64 * KIB)
        conversation.send([post(CHUNKED), *[piece] * (BODY // (64 * KIB))])
        self.assertEqual(conversation.client.received, b"")
        conversation.send([b"1\r\na\r\n0\r\n\r\n", FOLLOWER])
        self.assertTrue(self.refused(conversation))
        conversation.hang_up()

    def test_largest_chunked(self) -> None:
        """Exactly as much as allowed is allowed."""
        conversation = Conversation()
        pieces = [b"%x\r\n" % BODY, *[b"a" * 64 * KIB] * (BODY // (64 * KIB))]
        conversation.send([post(CHUNKED), *pieces, b"\r\n0\r\n\r\n"])
        self.assertEqual(conversation.outcome().statuses, [200])
        self.assertEqual(len(conversation.requests[0].body), BODY)
        conversation.hang_up()

    def test_extensions_are_not_free(self) -> None:
        """A body of a few bytes cannot bring megabytes around them."""
        conversation = Conversation()
        piece = b"1;%b\r\na\r\n" % (b"x" * KIB)
        conversation.send([post(CHUNKED), *[piece] * KIB])
        (reply,) = conversation.replies()
        self.assertIn(reply.status, {400, 413, 431})
        self.assertTrue(conversation.ended)
        conversation.hang_up()


class TimeTests(ConformanceTestCase):
    """How long a client may take."""

    def after(self, pieces: list[bytes], seconds: int) -> Conversation:
        """Send, and wait."""
        conversation = Conversation()
        conversation.send(pieces)
        conversation.pass_time(seconds)
        self.addCleanup(conversation.hang_up)
        return conversation

    def test_head_in_time(self) -> None:
        """It may take half a minute."""
        conversation = self.after([FOLLOWER[:1]], 29)
        conversation.send([FOLLOWER[1:]])
        self.assertEqual(conversation.outcome().statuses, [200])

    def test_head_that_takes_too_long(self) -> None:
        """RFC 9110, section 15.5.9; bytes in between win no time."""
        conversation = self.after([FOLLOWER[:1]], 15)
        conversation.send([FOLLOWER[1:9]])
        conversation.pass_time(16)
        (reply,) = conversation.replies()
        self.assertEqual(reply.status, 408)
        self.assertIn(b"close", reply.options)
        self.assertTrue(conversation.ended)

    def test_second_head_that_takes_too_long(self) -> None:
        """Its time begins with its own first byte."""
        conversation = self.after([FOLLOWER], 20)
        conversation.send([FOLLOWER[:1]])
        conversation.pass_time(29)
        self.assertFalse(conversation.ended)
        conversation.pass_time(2)
        self.assertEqual(conversation.outcome().statuses, [200, 408])

    def test_empty_lines_win_no_time(self) -> None:
        """They are no requests."""
        conversation = Conversation()
        for _ in range(20):
            conversation.send([b"\r\n"])
            conversation.pass_time(10)
        self.assertTrue(conversation.ended)
        self.assertEqual(conversation.requests, [])
        conversation.hang_up()

    def test_idle_connection_is_closed_silently(self) -> None:
        """There is no request that a status could answer."""
        for pieces in ([], [FOLLOWER]):
            conversation = self.after(pieces, 64)
            self.assertFalse(conversation.ended)
            conversation.pass_time(2)
            self.assertTrue(conversation.ended)
            self.assertEqual(conversation.outcome().statuses, [200] * len(pieces))

    def test_dripping_body_is_broken_off(self) -> None:
        """A byte now and then does not hold a connection for ever."""
        conversation = Conversation()
        conversation.send([post(b"Content-Length: 1000")])
        for _ in range(60):
            conversation.send([b"a"])
            conversation.pass_time(10)
        self.assertTrue(conversation.ended)
        self.assertEqual(conversation.requests, [])
        conversation.hang_up()


class CountTests(ConformanceTestCase):
    """How many requests a connection may bring."""

    def replies(self, count: int) -> list[Reply]:
        """Send many requests; return the responses."""
        conversation = Conversation()
        conversation.send([FOLLOWER] * count)
        self.assertEqual(conversation.ended, count >= REQUESTS)
        self.addCleanup(conversation.hang_up)
        return conversation.replies()

    def test_last_response_says_so(self) -> None:
        """A client knows that it has to connect again."""
        replies = self.replies(REQUESTS - 1)
        self.assertEqual([r for r in replies if b"close" in r.options], [])
        self.assertEqual(len(replies), REQUESTS - 1)
        self.assertIn(b"close", self.replies(REQUESTS)[-1].options)

    def test_nothing_is_answered_after_it(self) -> None:
        """The client sends it again, elsewhere."""
        self.assertEqual(len(self.replies(REQUESTS + 5)), REQUESTS)
