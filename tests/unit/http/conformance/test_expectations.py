"""Expectations (RFC 9110, section 10.1.1)."""

from twisted.trial.unittest import SynchronousTestCase

from tests.unit.http.wire import FOLLOWER, Conversation, Slow, get, message, post

EXPECT = b"Expect: 100-continue"
LENGTH = b"Content-Length: 5"


class ContinueTests(SynchronousTestCase):
    """When a client is told to send its body."""

    def statuses(self, *pieces: bytes) -> list[int]:
        """Send to a new connection; return what came back, interim ones too."""
        conversation = Conversation()
        self.addCleanup(conversation.hang_up)
        conversation.send(pieces)
        return [reply.status for reply in conversation.replies()]

    def test_body_is_asked_for(self) -> None:
        """As soon as the head is complete; then it is answered."""
        for framing, body in (
            (LENGTH, b"hello"),
            (b"Transfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n"),
        ):
            for expect in (EXPECT, b"expect: 100-Continue"):
                head = post(framing, expect)
                self.assertEqual(self.statuses(head), [100])
                self.assertEqual(self.statuses(head, body), [100, 200])
                self.assertEqual(self.statuses(head, body, head), [100, 200, 100])

    def test_body_that_is_there_already(self) -> None:
        """Nothing more need be said."""
        statuses = self.statuses(post(LENGTH, EXPECT, body=b"hello"))
        self.assertIn(statuses, ([200], [100, 200]))

    def test_no_body_to_ask_for(self) -> None:
        """A 100 would have the client wait, or send what nobody reads."""
        self.assertEqual(self.statuses(get(EXPECT)), [200])
        self.assertEqual(self.statuses(post(b"Content-Length: 0", EXPECT)), [200])

    def test_http_1_0_knows_no_interim_responses(self) -> None:
        """The expectation is ignored."""
        head = message(b"POST / HTTP/1.0", LENGTH, EXPECT)
        self.assertEqual(self.statuses(head), [])
        self.assertEqual(self.statuses(head, b"hello"), [200])

    def test_refused_head(self) -> None:
        """What is refused is not asked for."""
        self.assertEqual(self.statuses(post(b"Host: h", LENGTH, EXPECT)), [400])
        self.assertEqual(self.statuses(post(b"A : b", LENGTH, EXPECT)), [400])
        both = post(LENGTH, b"Transfer-Encoding: chunked", EXPECT)
        self.assertEqual(self.statuses(both), [400])

    def test_other_expectations(self) -> None:
        """They are refused, or else ignored."""
        for value in (b"200-ok", b"100-continue-please", b"100"):
            head = post(LENGTH, b"Expect: " + value)
            self.assertIn(self.statuses(head, b"hello"), ([200], [417]), value)

    def test_turn_is_kept(self) -> None:
        """An interim response does not overtake the response before it."""
        slow = Slow()
        conversation = Conversation(slow)
        self.addCleanup(conversation.hang_up)
        conversation.send([FOLLOWER + post(LENGTH, EXPECT)])
        self.assertEqual(conversation.client.received, b"")
        self.assertTrue(slow.answer())
        conversation.send([])
        statuses = [reply.status for reply in conversation.replies()]
        self.assertEqual(statuses, [200, 100])
