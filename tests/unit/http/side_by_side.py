"""The same requests to twisted.web's site and to clusterapp's, side by side."""

import re
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

from twisted.internet import _producer_helpers
from twisted.internet.task import Clock, Cooperator
from twisted.trial import util
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request, Site

from clusterapp.http.site import ClusterSite
from tests.unit.http.clients import ClientTransport

#: What is about the connection alone, and decided by the engine.
_FRAMING = (b"connection", b"transfer-encoding")
_PRODUCTS = re.compile(rb"TwistedWeb/.*|clusterapp")
_REPR = re.compile(rb"(?:Cluster)?Request at 0x[0-9a-f]+|0x[0-9a-f]+")
_DATE = re.compile(rb"\w{3}, \d\d \w{3} 20[2-9]\d \d\d:\d\d:\d\d GMT")

#: The types that a body gets here if its application sets none.
DEFAULT_TYPE = b"application/x-default"
_UNSET_TYPES = (b"text/html", DEFAULT_TYPE)

#: What is there without being called.
ATTRIBUTES = (
    "appRootURL",
    "args",
    "chunked",
    "client",
    "clientproto",
    "code",
    "code_message",
    "cookies",
    "defaultContentType",
    "etag",
    "finished",
    "host",
    "lastModified",
    "method",
    "path",
    "notifications",
    "postpath",
    "prepath",
    "producer",
    "queued",
    "received_cookies",
    "requestHeaders",
    "sentLength",
    "session",
    "sitepath",
    "startedWriting",
    "uri",
)

#: Renders a request, and tells what it has seen.
Handler = Callable[[Any, list[Any]], Any]


class Answer(NamedTuple):
    """
    A response, but for how it is framed.

    :param status: the status line without the version.
    :param fields: the field lines by name, the names in lower case.
    :param body: the body, without chunks; None if the framing promises more.
    :param length: the Content-Length, or None.
    """

    status: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytes | None
    length: bytes | None

    def field(self, name: bytes) -> list[bytes]:
        """Return the lines of a field, its name in lower case."""
        return [value for key, value in self.fields if key == name]


class HttpClient:
    """
    A client of one of the sites.

    :param site: the site.
    :param transport: the server's end of the connection.
    """

    def __init__(self, site: Site, transport: ClientTransport) -> None:
        self.transport = transport
        self.channel: Any = site.buildProtocol(None)
        transport.protocol = self.channel
        self.channel.makeConnection(transport)

    def ask(self, raw: bytes) -> Answer | None:
        """Send a request; return its answer, None if there is none yet."""
        self.transport.clear()
        self.channel.dataReceived(raw)
        return self.answer(raw)

    def answer(self, raw: bytes = b"") -> Answer | None:
        """Return the answer to the last request."""
        written = bytes(self.transport.value())
        return parsed(written, head=raw.startswith(b"HEAD")) if written else None

    def goes(self) -> None:
        """Close the connection from the client's side."""
        self.transport.lose()


class Side:
    """
    One of the two: a site on a clock of its own, and what its application saw.

    :param make_site: makes the site.
    :param make_root: makes the site's resource, given a list for what is seen.
    """

    def __init__(
        self,
        make_site: Callable[[Clock, IResource], Site],
        make_root: Callable[[list[Any]], IResource],
    ) -> None:
        self.clock = Clock()
        self.seen: list[Any] = []
        self.site = make_site(self.clock, make_root(self.seen))

    def http_client(self) -> HttpClient:
        """Connect one more client."""
        return HttpClient(self.site, ClientTransport(self.clock))


class Calling(Resource):
    """
    A leaf that calls a function.

    :param handler: the function.
    :param seen: where it puts what it sees.
    """

    isLeaf = True

    def __init__(self, handler: Handler, seen: list[Any]) -> None:
        super().__init__()
        self._handler = handler
        self._seen = seen

    def render(self, request: Request) -> Any:
        """Render any request."""
        return self._handler(request, self._seen)


class SideBySideTestCase(SynchronousTestCase):
    """Runs what a test says once on either site."""

    # Twisted's error pages call what Twisted has deprecated.
    suppress: ClassVar = [util.suppress(message=".*_Unsafe.*")]

    def setUp(self) -> None:
        self.clocks: list[Clock] = []
        # Both drive pull producers; twisted.web by the reactor's cooperator.
        cooperator = Cooperator(scheduler=lambda f: self.clocks[-1].callLater(0, f))
        self.patch(_producer_helpers, "cooperate", cooperator.cooperate)

    def sides(self, make_root: Callable[[list[Any]], IResource]) -> list[Side]:
        """Make twisted.web's side and the engine's."""
        return [
            Side(lambda clock, root: Site(root, reactor=clock), make_root),
            Side(ClusterSite, make_root),
        ]

    def alike(
        self,
        make_root: Callable[[list[Any]], IResource],
        scenario: Callable[[Side], Any],
    ) -> Any:
        """
        Run a scenario on both sides, and see that nothing differs.

        :return: what the scenario returns.
        """
        theirs, ours = self._outcomes(make_root, scenario)
        self.assertEqual(ours, theirs)
        return ours

    def answers(
        self, make_root: Callable[[list[Any]], IResource], *raws: bytes
    ) -> list[Answer]:
        """
        Send requests, each on a connection of its own, to both.

        :return: the answers, which are equal but for Content-Lengths that only
            one sends, and the type of what is empty and was not written.
        """

        def scenario(side: Side) -> list[Answer]:
            return [_answered(side, raw) for raw in raws]

        theirs, ours = self._outcomes(make_root, scenario)
        for raw, our, their in zip(raws, ours, theirs, strict=True):
            self.assertEqual(our[:3], _as_ours(their, our)[:3], raw)
            if our.status[:3] not in (b"204", b"304"):
                self.assertIn(their.length, (our.length, None), raw)
        answers: list[Answer] = ours
        return answers

    def _outcomes(
        self,
        make_root: Callable[[list[Any]], IResource],
        scenario: Callable[[Side], Any],
    ) -> list[Any]:
        sides = self.sides(make_root)
        outcomes = []
        for side in sides:
            self.clocks.append(side.clock)
            outcomes.append(scenario(side))
        they, we = sides
        self.assert_same(we.seen, they.seen)
        return outcomes

    def assert_same(self, ours: list[Any], theirs: list[Any]) -> None:
        """Compare what was seen thing by thing, for errors that can be read."""
        self.assertEqual(len(ours), len(theirs), "an application has seen more")
        for number, (our, their) in enumerate(zip(ours, theirs, strict=True)):
            if isinstance(our, dict):
                for name in their:
                    self.assertEqual(our[name], their[name], f"{name}, {number}")
            self.assertEqual(our, their, number)

    def called(self, handler: Handler, *raws: bytes) -> list[Answer]:
        """Send requests to a leaf on both sites; the answers are as `answers`."""
        return self.answers(lambda seen: Calling(handler, seen), *raws)


def get(target: str = "/", *lines: str, method: str = "GET") -> bytes:
    """Write a request without a body."""
    return "\r\n".join(
        [f"{method} {target} HTTP/1.1", "Host: shop.example:12345", *lines, "", ""]
    ).encode("latin-1")


def post(body: bytes, *lines: str, target: str = "/", method: str = "POST") -> bytes:
    """Write a request with a body."""
    length = f"Content-Length: {len(body)}"
    return get(target, *lines, length, method=method) + body


def plain(request: Any) -> dict[str, Any]:
    """Look at a request's attributes."""
    return {name: getattr(request, name) for name in ATTRIBUTES}


def parsed(written: bytes, *, head: bool = False) -> Answer:
    """
    Read a response.

    :param head: whether it is the answer to a HEAD.
    """
    opening, _, body = written.partition(b"\r\n\r\n")
    first, *lines = opening.split(b"\r\n")
    fields = []
    for line in lines:
        name, _, value = line.partition(b": ")
        fields.append((name.lower(), value))
    framing = dict(fields)
    status = first.partition(b" ")[2]
    length = framing.get(b"content-length")
    whole: bytes | None = body
    if b"transfer-encoding" in framing:
        whole = _joined(body)
    elif length is not None and not head and int(length) != len(body):
        whole = None if status[:3] not in (b"204", b"304") else body
    kept = sorted(
        (name, _usual(name, value))
        for name, value in fields
        if name not in (*_FRAMING, b"content-length")
    )
    if whole is not None and _REPR.search(whole):
        whole = _REPR.sub(b"(here)", whole)
        length = length and b"(of a repr)"
    return Answer(status, kept, whole, length)


def _as_ours(their: Answer, our: Answer) -> Answer:
    """Leave out the type that twisted.web gives to what it sends as no chunks."""
    if their.body or their.length is not None or our.length != b"0":
        return their
    unset = [(b"content-type", kind) for kind in _UNSET_TYPES]
    return their._replace(fields=[pair for pair in their.fields if pair not in unset])


def _answered(side: Side, raw: bytes) -> Answer:
    http_client = side.http_client()
    http_client.ask(raw)
    side.clock.pump([0] * 20)
    answer = http_client.answer(raw)
    assert answer is not None, f"no answer to {raw!r}"
    return answer


def _joined(chunks: bytes) -> bytes | None:
    body = b""
    while chunks:
        size, _, rest = chunks.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            return body
        body += rest[:length]
        chunks = rest[length + 2 :]
    return None


def _usual(name: bytes, value: bytes) -> bytes:
    """Return the same word for what either site says of itself and of the time."""
    if name == b"server" and _PRODUCTS.fullmatch(value):
        return b"(own)"
    if name == b"date" and _DATE.fullmatch(value):
        return b"(now)"
    return value
