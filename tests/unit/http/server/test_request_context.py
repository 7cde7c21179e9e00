"""Context variables: each request has its own."""

from contextvars import ContextVar, copy_context
from typing import Any

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from clusterapp import streamed
from clusterapp.http.klein.klein_resource import klein_resource
from clusterapp.http.server.request_context import WithContext, protocol_in_context
from clusterapp.http.site import ClusterSite
from clusterapp.web.wsgi.wsgi_resource import WSGIRoot
from tests.unit.http.clients import Client

user: ContextVar[str] = ContextVar("user", default="nobody")


class Owner(WithContext):
    """What has a context."""

    def __init__(self) -> None:
        self.context = copy_context()


class WithContextTests(SynchronousTestCase):
    """`WithContext`."""

    def test_of_its_own(self) -> None:
        """What is set in one is seen there, and nowhere else."""
        one, other = Owner(), Owner()
        one.in_context(user.set, "alice")
        self.assertEqual(one.in_context(user.get), "alice")
        self.assertEqual(other.in_context(user.get), "nobody")
        self.assertEqual(user.get(), "nobody")

    def test_within_itself_and_others(self) -> None:
        """Callbacks may be called within any handler, to any depth."""
        one, other = Owner(), Owner()
        one.in_context(user.set, "alice")
        other.in_context(user.set, "bob")
        heard = []

        def again() -> None:
            heard.append((one.in_context(user.get), other.in_context(user.get)))

        one.in_context(other.in_context, one.in_context, again)
        one.in_context(one.in_context, again)
        self.assertEqual(heard, [("alice", "bob")] * 2)

    def test_failures(self) -> None:
        """What is raised passes, and the context can be entered again."""
        one = Owner()
        for _ in range(2):
            with self.assertRaises(ZeroDivisionError):
                one.in_context(lambda: 1 / 0)
        self.assertEqual((one.in_context(user.get), user.get()), ("nobody", "nobody"))

    def test_protocol(self) -> None:
        """A protocol is what it was, and hears everything in the context."""
        heard: list[Any] = []

        @implementer(IHalfCloseableProtocol)
        class Noting(Protocol):
            def dataReceived(self, data: bytes) -> None:
                heard.append((data, user.get()))
                user.set("carol")

            def connectionLost(self, reason: Any = None) -> None:
                heard.append(user.get())

            def readConnectionLost(self) -> None:
                """Nothing."""

            def writeConnectionLost(self) -> None:
                """Nothing."""

        owner = Owner()
        owner.in_context(user.set, "alice")
        protocol: Any = protocol_in_context(owner.in_context, Noting())
        protocol.mark = 7
        self.assertEqual(protocol.mark, 7)
        self.assertTrue(IHalfCloseableProtocol.providedBy(protocol))
        protocol.dataReceived(b"a")
        protocol.connectionLost(None)
        self.assertEqual(heard, [(b"a", "alice"), "carol"])
        self.assertEqual(user.get(), "nobody")


class RequestTests(SynchronousTestCase):
    """Requests of a site, on a transport of Twisted's, as in the core."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.seen: list[str] = []

    def client(self, root: IResource) -> Client:
        client = Client(ClusterSite(self.clock, root), self.clock)
        self.addCleanup(client.goes)
        return client

    def note(self, name: str) -> None:
        """Note what is set, and set something else."""
        self.seen.append(user.get())
        user.set(name)

    def test_kinds_of_handlers(self) -> None:
        """Plain, Deferred, coroutine, error handler; pipelined and one by one."""
        app = Klein()
        waiting: list[Deferred[Any]] = []

        @app.route("/plain/<name>")
        def plain(request: Any, name: str) -> bytes:
            self.note(name)
            return b"x"

        @app.route("/later/<name>")
        def later(request: Any, name: str) -> Deferred[Any]:
            self.note(name)
            waiting.append(Deferred())
            return waiting[-1]

        @app.route("/coroutine/<name>")
        async def coroutine(request: Any, name: str) -> bytes:
            self.note(name)
            return b"x"

        @app.route("/failing/<name>")
        def failing(request: Any, name: str) -> bytes:
            self.note(name)
            raise LookupError

        @app.handle_errors(LookupError)
        def handled(request: Any, failure: Any) -> bytes:
            self.assertEqual(user.get(), "eve")
            return b"x"

        client = self.client(klein_resource(app))
        paths = ("/plain/alice", "/later/bob", "/coroutine/dan", "/failing/eve")
        for path in (*paths, *paths):
            client.send(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
            if waiting:
                waiting.pop().callback(b"x")
        whole = b"".join(
            f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode() for path in paths
        )
        client.send(whole)
        waiting.pop().callback(b"x")
        self.assertEqual(self.seen, ["nobody"] * 12)
        self.assertEqual(client.received.count(b" 200 OK"), 12)
        self.assertEqual(user.get(), "nobody")

    def test_fired_by_another_request(self) -> None:
        """A renderable is rendered in the context of its own request."""
        app = Klein()
        waiting: Deferred[Any] = Deferred()

        class Page(Resource):
            isLeaf = True

            def render(_, request: Any) -> bytes:  # noqa: N805
                self.seen.append(user.get())
                return b"page"

        @app.route("/wait")
        def wait(request: Any) -> Deferred[Any]:
            user.set("alice")
            return waiting

        @app.route("/fire")
        def fire(request: Any) -> bytes:
            user.set("bob")
            waiting.callback(Page())
            self.seen.append(user.get())
            return b"x"

        root = klein_resource(app)
        site = ClusterSite(self.clock, root)
        first, second = Client(site, self.clock), Client(site, self.clock)
        first.send(b"GET /wait HTTP/1.1\r\nHost: h\r\n\r\n")
        second.send(b"GET /fire HTTP/1.1\r\nHost: h\r\n\r\n")
        self.assertEqual(self.seen, ["alice", "bob"])
        self.assertTrue(first.received.endswith(b"page"))
        first.goes()
        second.goes()

    def test_what_comes_later(self) -> None:
        """Pieces of the body, a producer, and the end of the request."""
        seen = self.seen
        app = Klein()

        class Producer:
            def resumeProducing(self) -> None:
                seen.append("resumed " + user.get())

            def pauseProducing(self) -> None:
                seen.append("paused " + user.get())

            def stopProducing(self) -> None:
                """Nothing."""

        @app.route("/", methods=["POST"])
        @streamed
        def handler(request: Any) -> Any:
            user.set("alice")
            request.notifyFinish().addErrback(
                lambda _: seen.append("end " + user.get())
            )
            request.registerProducer(Producer(), True)
            reading = Deferred.fromCoroutine(read(request))
            reading.addErrback(lambda _: None)
            return Deferred()

        async def read(request: Any) -> None:
            async for _ in request.body:
                seen.append("body " + user.get())

        client = self.client(klein_resource(app))
        client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n", b"a")
        client.channel.pauseProducing()
        client.channel.resumeProducing()
        client.goes()
        self.assertEqual(
            seen, ["body alice", "paused alice", "resumed alice", "end alice"]
        )
        self.flushLoggedErrors()
        self.assertEqual(user.get(), "nobody")

    def test_resource(self) -> None:
        """Resources of twisted.web, and what they switch to."""
        seen, channels = self.seen, []

        class Leaf(Resource):
            isLeaf = True

            def render(self, request: Any) -> int:
                seen.append(user.get())
                user.set("alice")
                channels.append(request.channel)
                return NOT_DONE_YET

        class Switched(Protocol):
            def dataReceived(self, data: bytes) -> None:
                seen.append(user.get())
                user.set("bob")

        client = self.client(Leaf())
        client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        channels[0].hand_over(Switched())
        client.send(b"a", b"b")
        other = self.client(Leaf())
        other.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        self.assertEqual(seen, ["nobody", "alice", "bob", "nobody"])

    def test_wsgi(self) -> None:
        """Each call of a WSGI application, and what it iterates over, in one thread."""
        seen = self.seen

        class Threads:
            def getThreadPool(self) -> Any:
                return self

            def callInThread(self, call: Any) -> None:
                call()

            def callFromThread(self, call: Any, *arguments: Any) -> None:
                call(*arguments)

        def application(environ: Any, start_response: Any) -> Any:
            start_response("200 OK", [])
            seen.append(user.get())
            user.set("alice")
            yield b"x"
            seen.append(user.get())

        self.patch(
            __import__("twisted.web.wsgi", fromlist=["x"]),
            "blockingCallFromThread",
            lambda _, call, *arguments: call(*arguments),
        )
        threads: Any = Threads()
        client = self.client(WSGIRoot(threads, application))
        for _ in range(2):
            client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        self.assertEqual(seen, ["nobody", "alice"] * 2)
        self.assertEqual(user.get(), "nobody")
