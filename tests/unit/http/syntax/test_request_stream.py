"""The requests of a connection, parsed without a site: events for any segments."""

from collections.abc import Iterable, Iterator
from http import HTTPStatus
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.http.connection_limits import MANY_CHUNKS, Limits
from clusterapp.http.syntax.request_head import BadMessageError, Head, HeadReader
from clusterapp.http.syntax.request_stream import (
    NEED_DATA,
    PAUSED,
    EndOfMessage,
    RequestStream,
    Signal,
)
from tests.unit.http.conformance.corpus import ANY_MESSAGE
from tests.unit.http.streams import STREAMS, damaged, segments

GET = b"GET /a?b HTTP/1.1\r\nHost: h\r\n\r\n"
SIZED = b"POST /s HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n1\r\n!\r\n0\r\nX-Sum: 6\r\n\r\n"
)
MOST = 10_000


def stream_of(limits: Limits | None = None) -> RequestStream:
    """Make the parser of a connection."""
    limits = limits or Limits(body=MOST)
    return RequestStream(HeadReader(limits), limits)


def events(
    stream: RequestStream, pieces: Iterable[bytes], most_chunks: int = MANY_CHUNKS
) -> Iterator[tuple[object, ...]]:
    """Feed pieces; return what comes of them, with the parts of each body joined."""
    body = b""
    for piece in pieces:
        stream.feed(piece)
        while True:
            try:
                event = stream.next_event(most_chunks)
            except BadMessageError as error:
                yield "refused", error.status
                return
            if event is NEED_DATA:
                break
            if event is PAUSED:
                stream.resume()
            elif isinstance(event, Head):
                body = b""
                yield "head", event.method, event.target, event.length
            elif isinstance(event, EndOfMessage):
                yield "end", body, list(event.trailers)
            else:
                assert isinstance(event, bytes)
                body += event


class StreamTests(SynchronousTestCase):
    """Requests with and without bodies."""

    def test_events(self) -> None:
        found = list(events(stream_of(), [SIZED + GET + CHUNKED]))
        self.assertEqual(
            found,
            [
                ("head", b"POST", b"/s", 5),
                ("end", b"hello", []),
                ("head", b"GET", b"/a?b", 0),
                ("head", b"POST", b"/c", None),
                ("end", b"hello!", [(b"X-Sum", b"6")]),
            ],
        )

    def test_next_request_is_left_alone(self) -> None:
        """It is not parsed, not even checked, before it is asked for."""
        stream = stream_of()
        stream.feed(GET + b"BAD\r\n\r\n")
        self.assertIsInstance(stream.next_event(), Head)
        self.assertTrue(stream.has_unread)
        self.assertEqual(stream.take_rest(), b"BAD\r\n\r\n")
        self.assertFalse(stream.has_unread)

    def test_empty_lines(self) -> None:
        """Those before a request are skipped all at once."""
        stream = stream_of()
        stream.feed(b"\r\n" * 10_000 + GET)
        self.assertIsInstance(stream.next_event(), Head)
        stream.feed(b"\r\n" * 10_000)
        self.assertIs(stream.next_event(), NEED_DATA)
        self.assertEqual(stream.pending, b"")

    def test_body_that_is_not_read(self) -> None:
        """It is known that there is one, before any of it has come."""
        for head in (SIZED.removesuffix(b"hello"), CHUNKED.partition(b"5\r\n")[0]):
            stream = stream_of()
            stream.feed(head)
            self.assertIsInstance(stream.next_event(), Head)
            self.assertTrue(stream.has_unread)

    def test_length_above_the_limit(self) -> None:
        stream = stream_of()
        stream.feed(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10001\r\n\r\n")
        self.assertIsInstance(stream.next_event(), Head)
        with self.assertRaises(BadMessageError) as caught:
            stream.check_length()
        self.assertEqual(caught.exception.status, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)

    def test_chunks_above_the_limit(self) -> None:
        chunk = b"3e8\r\n" + b"x" * 1000 + b"\r\n"
        found = list(
            events(stream_of(), [CHUNKED.partition(b"5\r\n")[0], *[chunk] * 11])
        )
        self.assertEqual(found[-1], ("refused", HTTPStatus.REQUEST_ENTITY_TOO_LARGE))

    def test_pause_after_many_chunks(self) -> None:
        """The rest waits until it is resumed, and so does what is fed meanwhile."""
        stream = stream_of()
        stream.feed(CHUNKED.partition(b"5\r\n")[0] + b"1\r\nx\r\n" * 10)
        stream.next_event()
        self.assertEqual(stream.next_event(4), b"xxxx")
        self.assertIs(stream.next_event(4), PAUSED)
        stream.feed(b"1\r\ny\r\n0\r\n\r\n" + GET)
        self.assertIs(stream.next_event(4), PAUSED)
        stream.resume()
        self.assertEqual(stream.next_event(100), b"xxxxxxy")
        self.assertIsInstance(stream.next_event(), EndOfMessage)
        self.assertIsInstance(stream.next_event(), Head)

    def test_end(self) -> None:
        """The first bytes tell what it was that could not be parsed."""
        stream = stream_of()
        stream.feed(b"HEAD / HTTP/1.1\r\nHost : h\r\n\r\n")
        self.assertRaises(BadMessageError, stream.next_event)
        self.assertEqual(stream.end(), b"HEAD ")
        self.assertEqual(stream.pending, b"")


class FuzzTests(SynchronousTestCase):
    """Anything, in any segments, with any bound on the chunks of a turn."""

    @given(st.data())
    def test_segments_change_nothing(self, data: st.DataObject) -> None:
        whole_requests = st.lists(st.sampled_from((GET, SIZED, CHUNKED)), max_size=4)
        anything = (
            st.binary(max_size=100)
            | STREAMS
            | damaged(ANY_MESSAGE)
            | whole_requests.map(b"".join)
        )
        pieces = data.draw(segments(anything))
        whole = list(events(stream_of(), [b"".join(pieces)]))
        most_chunks = data.draw(st.integers(1, 5))
        divided = list(events(stream_of(), pieces, most_chunks))
        # An incomplete head may be refused for what can be seen of it already.
        if divided[-1:] != whole[-1:]:
            self.assertEqual(divided[-1][0], "refused")
            self.assertIn(divided[:-1], (whole, whole[:-1]))
        else:
            self.assertEqual(divided, whole)

    @given(st.data())
    def test_nothing_follows_what_is_not_asked_for(self, data: st.DataObject) -> None:
        """Each event but the last one has changed what is pending, or the state."""
        sent = data.draw(STREAMS | damaged(ANY_MESSAGE))
        stream = stream_of()
        seen: list[object] = []
        try:
            stream.feed(sent)
            while not isinstance(event := stream.next_event(1), Signal) or (
                event is PAUSED
            ):
                stream.resume()
                seen.append(event)
        except BadMessageError:
            pass
        self.assertLessEqual(len(seen), 2 * len(sent) + 2)
        for one, other in pairwise(seen):
            self.assertFalse(one is PAUSED and other is PAUSED)
