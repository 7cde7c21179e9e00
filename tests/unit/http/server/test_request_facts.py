"""What the log says of a request with which something has gone wrong."""

import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import (
    ILogObserver,
    LogEvent,
    LogLevel,
    formatEvent,
    globalLogPublisher,
)
from twisted.python.threadpool import ThreadPool
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import IResource
from twisted.web.server import Request
from twisted.web.wsgi import WSGIResource
from zope.interface import implementer

from clusterapp.http.application.current_request import request_under_way
from clusterapp.http.klein.klein_resource import klein_resource
from clusterapp.http.server.request_facts import request_facts
from clusterapp.http.site import ClusterSite
from clusterapp.http.syntax.request_id import request_id_of
from tests.unit.fakes import Log
from tests.unit.http.clients import Client

if TYPE_CHECKING:
    from clusterapp.channel.log_pipe.log_events import RequestFacts


class FactsTests(SynchronousTestCase):
    """The facts, from a request's head."""

    def test_query_is_left_out(self) -> None:
        """It may hold passwords."""
        facts = request_facts(b"GET", b"/reset?token=secret", (), "1.2.3.4")
        self.assertEqual(str(facts), "GET /reset (client 1.2.3.4)")

    def test_what_clients_can_do_to_a_line(self) -> None:
        """Neither control characters nor spaces nor length get through."""
        facts = request_facts(b"GET", b"/\x1b[2J a\xff" + b"x" * 9999, (), None)
        self.assertTrue(facts.path.startswith("/\\x1b[2J\\x20a\\xffx"))
        self.assertTrue(facts.path.isprintable())
        self.assertLess(len(facts.path), 600)

    def test_request_id(self) -> None:
        """The first, if it is a token that is not too long (RFC 9110, 5.6.2)."""
        for value, expected in (
            (b"7f3a-11", "7f3a-11"),
            (b"x" * 128, "x" * 128),
            (b"x" * 129, None),
            (b"a b", None),
            (b"a\x1b", None),
            (b"\xc3\xa4", None),
            (b"", None),
        ):
            found = request_id_of([(b"Host", b"h"), (b"X-REQUEST-ID", value)])
            self.assertEqual(found, expected, value)
        self.assertIsNone(request_id_of([]))

    def test_no_route(self) -> None:
        app = Klein()
        for path in ("/nothing", "//"):
            facts = request_facts(b"GET", b"/", (), None, (app, path))
            self.assertIsNone(facts.route)


class RequestCase(SynchronousTestCase):
    """A site that is asked."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.log = Log(self)
        self.app = Klein()

    def ask(self, target: bytes, root: IResource | None = None) -> Client:
        site = ClusterSite(self.clock, root or klein_resource(self.app))
        client = Client(site, self.clock)
        self.addCleanup(client.goes)
        client.send(b"GET %b HTTP/1.1\r\nHost: h\r\nX-Request-ID: r-1\r\n\r\n" % target)
        self.clock.advance(0)
        return client


class FailureTests(RequestCase):
    """The event of a request that has failed."""

    def assert_logged(self, start: str, path: str, route: str) -> None:
        [event] = [each for each in self.log.events if "log_failure" in each]
        self.assertEqual(event["log_level"], LogLevel.error)
        self.assertRegex(
            formatEvent(event),
            rf"^{start} ValueError in GET {path} \(route {route}, client .*r-1\)$",
        )
        self.assertEqual(event["request"].facts.path, path)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_handler(self) -> None:
        @self.app.route("/a/<int:number>")
        def fails(request: Request, number: int) -> None:
            raise ValueError

        self.ask(b"/a/7?secret=1")
        self.assert_logged("unhandled", "/a/7", "/a/<int:number>")

    def test_coroutine(self) -> None:
        later: Deferred[None] = Deferred()

        @self.app.route("/a")
        async def fails(request: Request) -> None:
            await later
            raise ValueError

        self.ask(b"/a")
        later.callback(None)
        self.assert_logged("unhandled", "/a", "/a")

    def test_after_the_first_piece(self) -> None:
        """The client cannot be told; the log is."""

        @self.app.route("/a")
        def fails(request: Request) -> None:
            request.write(b"x")
            raise ValueError

        self.ask(b"/a")
        self.assert_logged("unhandled", "/a", "/a")

    def test_after_the_response(self) -> None:
        @self.app.route("/a")
        def fails(request: Request) -> None:
            request.finish()
            raise ValueError

        self.ask(b"/a")
        self.assert_logged("after the response,", "/a", "/a")


class UnderWayTests(RequestCase):
    """The request that code works for, found when it is asked."""

    def test_site_that_has_none_named(self) -> None:
        """As that of the control socket: what it logs is about the cluster."""
        found: list[RequestFacts | None] = []
        self.patch(ClusterSite, "names_requests", False)

        @self.app.route("/reload")
        def handler(request: Request) -> bytes:
            found.append(request_under_way())
            return b""

        self.ask(b"/reload")
        self.assertEqual(found, [None])

    def test_handlers(self) -> None:
        """In a handler, in what it calls, and in a coroutine that goes on later."""
        found: list[RequestFacts | None] = []
        later: Deferred[None] = Deferred()

        def helper() -> None:
            found.append(request_under_way())

        @self.app.route("/a")
        def handler(request: Request) -> bytes:
            helper()
            return b""

        @self.app.route("/b")
        async def coroutine(request: Request) -> bytes:
            await later
            helper()
            return b""

        self.ask(b"/a")
        self.ask(b"/b")
        later.callback(None)
        self.assertEqual([facts and facts.path for facts in found], ["/a", "/b"])

    def test_nowhere(self) -> None:
        """Outside, in other threads, and in finalizers, which run anywhere."""
        found: list[RequestFacts | None] = [request_under_way()]

        class Finalized:
            def __del__(self) -> None:
                found.append(request_under_way())

        @self.app.route("/a")
        def handler(request: Request) -> bytes:
            thread = threading.Thread(target=lambda: found.append(request_under_way()))
            thread.start()
            thread.join()
            Finalized()
            return b""

        self.ask(b"/a")
        self.assertEqual(found, [None] * 3)

    def test_deep_recursion(self) -> None:
        """The look is bounded, whatever the application does."""
        found: list[RequestFacts | None] = []

        def deep(n: int) -> None:
            if n:
                deep(n - 1)
            else:
                found.append(request_under_way())

        @self.app.route("/a")
        def handler(request: Request) -> bytes:
            deep(300)
            return b""

        self.ask(b"/a")
        self.assertEqual(found, [None])

    def test_wsgi(self) -> None:
        """In the thread of the application, and where Twisted logs its exceptions."""
        found: list[RequestFacts | None] = []

        def application(environ: dict[str, Any], _: object) -> list[bytes]:
            found.append(request_under_way())
            raise ValueError

        @implementer(ILogObserver)
        def logged(event: LogEvent) -> None:
            if "log_failure" in event:
                found.append(request_under_way())

        globalLogPublisher.addObserver(logged)
        self.addCleanup(globalLogPublisher.removeObserver, logged)
        calls: list[Any] = []
        here = SimpleNamespace(callFromThread=lambda *call: calls.append(call))
        pool = SimpleNamespace(
            callInThread=lambda call, *arguments: call(*arguments), spec=ThreadPool
        )
        self.ask(b"/w", WSGIResource(here, pool, application))
        for call, *arguments in calls:
            call(*arguments)
        self.assertEqual([facts and facts.path for facts in found], ["/w", "/w"])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
