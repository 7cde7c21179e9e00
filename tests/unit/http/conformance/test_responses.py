"""What a client gets: one response for each request, and none of somebody's making."""

from collections.abc import Callable, Iterator
from itertools import product
from typing import NamedTuple

from twisted.trial.unittest import SynchronousTestCase
from twisted.web.server import NOT_DONE_YET, Request

from tests.unit.http.replies import Reply
from tests.unit.http.wire import FOLLOWER, Application, Conversation, Slow, get, message

#: What would become a field, or an end, if it were written as it is.
SPLITS = (
    "a\r\nInjected: 1",
    "a\nInjected: 1",
    "a\rInjected: 1",
    "a\0",
    "\r\n\r\nInjected",
)

Act = Callable[[Request], object]
Answer = Callable[[Request], bytes | int]


class Answering(Application):
    """Answers as the test says."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self._answer = answer

    def render(self, request: Request) -> bytes:
        super().render(request)
        return self._answer(request)  # type: ignore[return-value]


def injections(text: str) -> Iterator[Act]:
    """Return the ways in which an application may put a text into a head."""
    data = text.encode()
    yield lambda request: request.setHeader(b"X", data)
    yield lambda request: request.setHeader("X", text)
    yield lambda request: request.setHeader(data, b"x")
    yield lambda request: request.setHeader(b"Content-Type", data)
    yield lambda request: request.responseHeaders.setRawHeaders(b"X", [b"x", data])
    yield lambda request: request.responseHeaders.setRawHeaders("X", [text])
    yield lambda request: request.responseHeaders.addRawHeader(b"X", data)
    yield lambda request: request.responseHeaders.addRawHeader(data, b"x")
    yield lambda request: request.redirect(data)
    yield lambda request: request.redirect(b"http://h/" + data)
    yield lambda request: request.setResponseCode(200, data)
    yield lambda request: request.addCookie(b"name", data)
    yield lambda request: request.addCookie(data, b"value")
    yield lambda request: request.addCookie("name", text)
    yield lambda request: request.addCookie(b"name", b"value", path=data)
    yield lambda request: request.addCookie(b"name", b"value", domain=data)
    yield lambda request: request.addCookie(b"name", b"value", expires=data)
    yield lambda request: request.addCookie(b"name", b"value", comment=data)
    yield lambda request: request.addCookie(b"name", b"value", max_age=data)
    yield lambda request: request.cookies.append(b"name=" + data)
    yield lambda request: request.setETag(data)
    yield lambda request: setattr(request, "code_message", data)
    yield lambda request: setattr(request, "defaultContentType", data)


class InjectionTests(SynchronousTestCase):
    """CR, LF and NUL in what an application says (RFC 9110, section 5.5)."""

    def test_application_sees_the_error(self) -> None:
        """
        It is raised where the text is set.

        What is set past the methods is found when the head would be written, perhaps
        by a timer, where an exception would leave the client without an answer: it is
        a 500.
        """
        late = 0
        for number, (text, act) in enumerate(every_injection()):
            raised: list[Exception] = []
            conversation = Conversation(Answering(caught(act, raised)))
            conversation.send([get()])
            logged = self.flushLoggedErrors(ValueError, TypeError)
            if raised:
                self.assertEqual((len(raised), logged), (1, []), (number, text))
                self.assertEqual(conversation.client.received, b"", (number, text))
            else:
                late += 1
                (reply,) = conversation.replies()
                self.assertEqual(reply.status, 500, (number, text))
                self.assertNotIn(b"njected", conversation.client.received)
                self.assertEqual(len(logged), 1, (number, text))
            conversation.hang_up()
        self.assertEqual(late, 4 * len(SPLITS))

    def test_error_becomes_a_500(self) -> None:
        """Of what the application has said, nothing is written."""
        for number, (text, act) in enumerate(every_injection()):
            conversation = Conversation(Answering(uncaught(act)))
            conversation.send([get()])
            self.assertNotIn(b"njected", conversation.client.received)
            self.assertNotIn(b"\0", conversation.client.received)
            (reply,) = conversation.replies()
            self.assertEqual(reply.status, 500, (number, text))
            conversation.hang_up()
            errors = self.flushLoggedErrors(ValueError, TypeError)
            self.assertNotEqual(errors, [], (number, text))


def every_injection() -> Iterator[tuple[str, Act]]:
    """Return every way for every text."""
    for text in SPLITS:
        for act in injections(text):
            yield text, act


def caught(act: Act, raised: list[Exception]) -> Callable[[Request], int]:
    """Do what an application does that minds its errors."""

    def answer(request: Request) -> int:
        try:
            act(request)
            request.write(b"body")
        except (ValueError, TypeError) as error:
            raised.append(error)
        return NOT_DONE_YET

    return answer


def uncaught(act: Act) -> Callable[[Request], bytes]:
    """Do what an application does that minds nothing."""

    def answer(request: Request) -> bytes:
        act(request)
        return b"body"

    return answer


def returned(request: Request) -> bytes:
    """Answer at once, whole."""
    return b"body"


def streamed(request: Request) -> int:
    """Answer in pieces, of which nobody knows the size."""
    request.write(b"bo")
    request.write(b"dy")
    request.finish()
    return NOT_DONE_YET


def measured(request: Request) -> int:
    """Answer in pieces, and say before how much it will be."""
    request.setHeader(b"Content-Length", b"4")
    return streamed(request)


def closing(request: Request) -> bytes:
    """Answer, and ask for the end of the connection."""
    request.setHeader(b"Connection", b"close")
    return b"body"


def empty(request: Request) -> int:
    """Answer with nothing."""
    request.finish()
    return NOT_DONE_YET


class Case(NamedTuple):
    """One combination."""

    version: bytes
    option: bytes
    method: bytes
    status: int
    answer: Answer

    def converse(self) -> Conversation:
        """Send the request, and another one after it."""

        def answer(request: Request) -> bytes | int:
            request.setResponseCode(self.status)
            return self.answer(request)

        fields = [b"Host: h", *([b"Connection: " + self.option] if self.option else [])]
        conversation = Conversation(Answering(answer))
        line = b"%b / %b" % (self.method, self.version)
        conversation.send([message(line, *fields) * 2])
        return conversation

    @property
    def bodiless(self) -> bool:
        """Whether there is never a body (RFC 9112, section 6.3)."""
        return self.method == b"HEAD" or self.status in {204, 304}


ANSWERS: tuple[Answer, ...] = (returned, streamed, measured, closing, empty)
CASES = [
    Case(*values)
    for values in product(
        (b"HTTP/1.1", b"HTTP/1.0"),
        (b"", b"close", b"Close", b"x, close", b"keep-alive", b"Keep-Alive, close"),
        (b"GET", b"HEAD", b"POST"),
        (200, 204, 304, 404),
        ANSWERS,
    )
]


class PersistenceTests(SynchronousTestCase):
    """RFC 9112, section 9: which connections are kept, and who knows."""

    def test_every_combination(self) -> None:
        """The response says what becomes of the connection, and that it becomes."""
        for case in CASES:
            conversation = case.converse()
            # Whatever can be read in two ways fails here.
            replies = conversation.replies()
            self.assert_kept_as_announced(case, conversation, replies)
            self.assert_body(case, replies[0])
            conversation.hang_up()

    def assert_kept_as_announced(
        self, case: Case, conversation: Conversation, replies: list[Reply]
    ) -> None:
        """Require that client and server agree on whether more may follow."""
        options = replies[0].options
        if b"close" in case.option.lower() or case.answer is closing:
            kept = False
        elif case.version == b"HTTP/1.1":
            kept = True
        else:
            kept = b"keep-alive" in options
        self.assertEqual(len(replies), 2 if kept else 1, case)
        self.assertEqual(conversation.ended, not kept, case)
        if case.version == b"HTTP/1.1":
            self.assertEqual(b"close" in options, not kept, case)
        if not case.option:
            self.assertTrue(
                kept or case.version == b"HTTP/1.0" or case.answer is closing
            )

    def assert_body(self, case: Case, reply: Reply) -> None:
        """Require the body that was written, framed as the client knows it."""
        self.assertEqual(reply.status, case.status)
        expected = b"" if case.bodiless or case.answer is empty else b"body"
        self.assertEqual(reply.body, expected, case)
        if case.version == b"HTTP/1.0":
            self.assertEqual(reply.values(b"transfer-encoding"), [], case)
        if case.status == 204:
            self.assertEqual(reply.values(b"content-length"), [], case)
        elif case.answer in {returned, measured, closing} and case.status != 304:
            self.assertEqual(reply.values(b"content-length"), [b"4"], case)

    def test_every_line_counts(self) -> None:
        """RFC 9110, section 5.3: lines of one name are one list."""
        conversation = Conversation()
        fields = (b"Connection: x", b"Connection: close", b"Connection: keep-alive")
        conversation.send([get(*fields) + FOLLOWER])
        (reply,) = conversation.replies()
        self.assertIn(b"close", reply.options)
        self.assertTrue(conversation.ended)
        conversation.hang_up()


class OrderTests(SynchronousTestCase):
    """RFC 9112, section 9.3.2: responses have the order of their requests."""

    def setUp(self) -> None:
        self.slow = Slow()
        self.conversation = Conversation(self.slow)
        self.addCleanup(self.conversation.hang_up)

    def test_pipelined_requests(self) -> None:
        """Each waits for the one before it."""
        requests = [b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % n for n in range(4)]
        self.conversation.send([b"".join(requests)])
        for count in range(4):
            self.assertEqual(len(self.conversation.replies()), count)
            self.assertTrue(self.slow.answer())
            self.conversation.send([])
        bodies = [reply.body for reply in self.conversation.replies()]
        self.assertEqual(bodies, [b"/0", b"/1", b"/2", b"/3"])
        self.assertFalse(self.conversation.ended)

    def test_bad_message_behind_a_slow_one(self) -> None:
        """Its refusal comes in its turn, and does not break the other off."""
        self.conversation.send([FOLLOWER + b"GET / HTTP/9.9\r\n\r\n", FOLLOWER])
        self.assertEqual(self.conversation.replies(), [])
        self.assertFalse(self.conversation.ended)
        self.assertTrue(self.slow.answer())
        self.conversation.send([])
        statuses = [reply.status for reply in self.conversation.replies()]
        self.assertEqual(statuses, [200, 505])
        self.assertTrue(self.conversation.ended)
        self.assertEqual(len(self.conversation.requests), 1)

    def test_nothing_behind_the_last_one(self) -> None:
        """What follows a request that closes is not looked at."""
        self.conversation.send([get(b"Connection: close") + FOLLOWER, FOLLOWER])
        self.assertTrue(self.slow.answer())
        self.conversation.send([])
        self.assertFalse(self.slow.answer())
        (reply,) = self.conversation.replies()
        self.assertIn(b"close", reply.options)


class RefusalTests(SynchronousTestCase):
    """Responses that no application has made."""

    def refuse(self, request: bytes) -> tuple[Reply, bytes]:
        """Send a bad message; return the response, and its bytes."""
        conversation = Conversation()
        conversation.send([request])
        (reply,) = conversation.replies()
        self.assertTrue(conversation.ended)
        conversation.hang_up()
        return reply, conversation.client.received

    def test_end_is_announced(self) -> None:
        """With all that a response of an origin server needs."""
        for request in (
            b"GET / HTTP/1.1\r\n\r\n",
            b"x\r\n\r\n",
            b"GET / HTTP/3.0\r\n\r\n",
        ):
            reply, _ = self.refuse(request)
            self.assertEqual(reply.options, {b"close"})
            self.assertEqual(len(reply.values(b"date")), 1)
            self.assertEqual(len(reply.values(b"content-length")), 1)

    def test_head_gets_no_body(self) -> None:
        """RFC 9110, section 9.3.2, where the method could be read."""
        _, written = self.refuse(b"HEAD / HTTP/1.1\r\n\r\n")
        self.assertTrue(written.endswith(b"\r\n\r\n"), written)

    def test_head_before_changes_nothing(self) -> None:
        """Each refusal is framed for its own message."""
        conversation = Conversation()
        self.addCleanup(conversation.hang_up)
        conversation.send([b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", b"x y z\r\n\r\n"])
        _, refusal = conversation.replies()
        self.assertEqual(refusal.values(b"content-length"), [b"%d" % len(refusal.body)])

    def test_message_is_not_repeated(self) -> None:
        """A browser would take it for the server's own words."""
        _, written = self.refuse(b"GET /<script> HTTP/1.1\r\n<script>: 1\r\n\r\n")
        self.assertNotIn(b"script", written)
