"""Conversations with a site, byte by byte: what it answers, and what it lets in."""

from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from clusterapp.http.exchange.exchange import Exchange
from clusterapp.http.site import ClusterSite
from clusterapp.http.syntax.message_head import ResponseHead
from clusterapp.http.syntax.request_head import Head
from tests.unit.http.clients import Client, Sink
from tests.unit.http.replies import Reply, parse

#: A request that is in order: what must not be answered after a bad one.
FOLLOWER = b"GET /follower HTTP/1.1\r\nHost: h\r\n\r\n"
#: For longer than this no refused connection stays, in seconds.
TIMEOUT = 90


def message(line: bytes, *fields: bytes, body: bytes = b"") -> bytes:
    """Write a request from its lines."""
    return b"\r\n".join([line, *fields, b"", body])


def get(*fields: bytes) -> bytes:
    """Write a request with these lines besides its ``Host``."""
    return message(b"GET / HTTP/1.1", b"Host: h", *fields)


def post(*fields: bytes, body: bytes = b"") -> bytes:
    """Write a request with these lines besides its ``Host``, and a body."""
    return message(b"POST / HTTP/1.1", b"Host: h", *fields, body=body)


class Seen(NamedTuple):
    """A request as the application sees it."""

    method: bytes
    target: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytes = b""


def seen(
    method: bytes,
    target: bytes,
    fields: Iterable[tuple[bytes, bytes]],
    body: bytes = b"",
) -> Seen:
    """Note a request; neither the case of names nor the order of fields counts."""
    return Seen(method, target, sorted((n.lower(), v) for n, v in fields), body)


class Outcome(NamedTuple):
    """What came of a conversation."""

    requests: list[Seen]
    statuses: list[int]
    ended: bool


class Application(Resource):
    """Answers everything at once, and remembers it."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Seen] = []

    def render(self, request: Request) -> bytes:
        assert request.content is not None
        fields = [
            (name, value)
            for name, values in request.requestHeaders.getAllRawHeaders()
            for value in values
        ]
        body = request.content.read()
        self.requests.append(seen(request.method, request.uri, fields, body))
        return b"ok"


class Slow(Application):
    """Answers when it is told to, with the target that was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: list[Request] = []

    def render(self, request: Request) -> int:  # type: ignore[override]
        super().render(request)
        self._waiting.append(request)
        request.notifyFinish().addErrback(lambda _: self._waiting.remove(request))
        return NOT_DONE_YET

    def answer(self) -> bool:
        """Answer one request, if there is one that still has a client."""
        if not self._waiting:
            return False
        request = self._waiting.pop(0)
        request.write(request.uri)
        request.finish()
        return True


class Forwarder:
    """Reads everything whole before it answers, and remembers it."""

    def __init__(self) -> None:
        self.requests: list[Seen] = []

    def __call__(self, head: Head) -> Callable[[Exchange], object]:
        return self.take

    def take(self, exchange: Exchange) -> None:
        sink = Sink()
        read = exchange.body.startProducing(sink)
        read.addCallbacks(
            lambda _: self.answer(exchange, b"".join(sink.pieces)), lambda _: None
        )

    def answer(self, exchange: Exchange, body: bytes) -> None:
        self.requests.append(
            seen(exchange.method, exchange.target, exchange.fields, body)
        )
        exchange.respond(ResponseHead(200, b"OK", [(b"Content-Length", b"2")]))
        exchange.write(b"ok")
        exchange.finish()


class Conversation:
    """
    One client, and the application it talks to.

    :param application: answers the requests that are not streamed away.
    :param forwarded: whether they are all streamed to a forwarder.
    """

    def __init__(
        self, application: Application | None = None, *, forwarded: bool = False
    ) -> None:
        self.clock = Clock()
        application, forwarder = application or Application(), Forwarder()
        self.requests = forwarder.requests if forwarded else application.requests
        self.site = ClusterSite(
            self.clock, application, forwarder if forwarded else None
        )
        self.client = Client(self.site, self.clock)
        self._unread: deque[bytes] = deque()

    def send(self, pieces: Iterable[bytes]) -> None:
        """Deliver segments; those that the site does not read wait."""
        self._unread.extend(pieces)
        # TLS delivers what it has even while it closes.
        while self._unread and self.reading:
            self.client.channel.dataReceived(self._unread.popleft())

    def stop_reading(self) -> None:
        """Pause the site's producer, as a full socket buffer would."""
        producer = self.client.transport.producer
        assert producer is not None, "the site would not notice"
        producer.pauseProducing()

    def pass_time(self, seconds: int) -> None:
        """Move the clock on in steps, as a reactor would."""
        for _ in range(seconds):
            self.clock.advance(1)

    @property
    def reading(self) -> bool:
        """Whether the site reads, and a segment can still arrive."""
        return self.client.reading and self.client.transport.protocol is not None

    @property
    def ended(self) -> bool:
        """Whether the site has closed the connection, or begun to."""
        return self.client.transport.ended != ""

    def replies(self) -> list[Reply]:
        """Return the responses so far, as a client understands them."""
        methods = [request.method for request in self.requests]
        return parse(self.client.received, methods, ended=self.ended)

    def outcome(self) -> Outcome:
        """Sum up what has happened."""
        statuses = [reply.status for reply in self.replies()]
        return Outcome(self.requests, statuses, self.ended)

    def hang_up(self) -> None:
        """Close from the client's side."""
        self.client.goes()


def converse(pieces: Iterable[bytes], *, forwarded: bool = False) -> Outcome:
    """Send segments over a connection of their own; return what came of it."""
    conversation = Conversation(forwarded=forwarded)
    conversation.send(pieces)
    outcome = conversation.outcome()
    conversation.hang_up()
    return outcome


class Bad(NamedTuple):
    """
    A message to be refused.

    :ivar statuses: what it may be refused with.
    :ivar waits: whether more may be waited for, as the message has no end yet.
    """

    message: bytes
    statuses: frozenset[int]
    waits: bool = False

    def problem(self) -> str | None:
        """Return what is wrong with how the message is refused, if anything."""
        for trial in (self._alone, self._with_follower, self._before, self._after):
            if wrong := trial():
                return f"{trial.__name__}: {wrong}: {self.message[:200]!r}"
        return None

    def _alone(self) -> str | None:
        outcome = converse([self.message])
        if self.waits and outcome == Outcome([], [], False):
            return None
        return self._refusal(outcome)

    def _with_follower(self) -> str | None:
        return self._refusal(converse([self.message + FOLLOWER]))

    def _before(self) -> str | None:
        conversation = Conversation()
        conversation.send([self.message, FOLLOWER, FOLLOWER])
        outcome = conversation.outcome()
        written = conversation.client.received
        conversation.pass_time(TIMEOUT)
        if conversation.client.transport.protocol is not None:
            return "the connection stays"
        if conversation.client.received != written:
            return "something is written after the refusal"
        return self._refusal(outcome)

    def _after(self) -> str | None:
        outcome = converse([FOLLOWER + self.message + FOLLOWER])
        if outcome.statuses[:1] != [200] or len(outcome.requests) != 1:
            return f"the request before it was not answered: {outcome}"
        return self._refusal(
            outcome._replace(requests=[], statuses=outcome.statuses[1:])
        )

    def _refusal(self, outcome: Outcome) -> str | None:
        if outcome.requests:
            return f"the application saw {outcome.requests}"
        if len(outcome.statuses) != 1 or outcome.statuses[0] not in self.statuses:
            return f"{outcome.statuses}, not one of {sorted(self.statuses)}"
        return None if outcome.ended else "the connection is kept"


class Good(NamedTuple):
    """
    A message that must be taken, however odd it looks.

    :ivar requests: what the application sees of it.
    :ivar kept: whether the connection stays open, so that more is answered.
    """

    message: bytes
    requests: list[Seen]
    kept: bool = True

    def problem(self) -> str | None:
        """Return what is wrong with how the message is taken, if anything."""
        last = [seen(b"GET", b"/follower", [(b"host", b"h")])] if self.kept else []
        requests = self.requests + last
        expected = Outcome(requests, [200] * len(requests), not self.kept)
        for forwarded in (False, True):
            outcome = converse([self.message + FOLLOWER], forwarded=forwarded)
            if outcome != expected:
                return f"{self.message[:200]!r}: {outcome}"
        return None


class Either(NamedTuple):
    """A message that may be refused, or else be taken in one way only."""

    refused: Bad
    taken: Good

    @property
    def message(self) -> bytes:
        """The bytes of the message."""
        return self.taken.message

    def problem(self) -> str | None:
        """Return what is wrong with how the message is handled, if anything."""
        refused, taken = self.refused.problem(), self.taken.problem()
        return refused and taken and f"neither {refused} nor {taken}"


Row = Bad | Good | Either


def bad(messages: Iterable[bytes], *statuses: int, waits: bool = False) -> list[Bad]:
    """List messages that are refused with one of these statuses, 400 by default."""
    return [Bad(each, frozenset(statuses or (400,)), waits) for each in messages]


def either(taken: Iterable[Good], *statuses: int) -> list[Either]:
    """List messages that are taken so, or refused with one of these statuses."""
    refused = frozenset(statuses or (400,))
    return [Either(Bad(each.message, refused), each) for each in taken]


class ConformanceTestCase(SynchronousTestCase):
    """Checks whole tables, and tells all that is wrong at once."""

    def assert_handled(self, rows: Iterable[Row]) -> None:
        """Require that each message is refused, or taken, as its row says."""
        problems = [problem for row in rows if (problem := row.problem())]
        self.assertEqual(problems, [], "\n" + "\n".join(problems))
