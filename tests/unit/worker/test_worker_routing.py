"""A request is routed once, by whatever process it is answered."""

from typing import Any, cast

from klein import Klein
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.http.exchange.exchange import Exchange
from clusterapp.http.klein.klein_resource import klein_resource
from clusterapp.http.klein.klein_routes import STREAMED
from clusterapp.http.klein.route_tree import RouteTree
from clusterapp.http.site import ClusterSite
from clusterapp.http.syntax.message_head import ResponseHead
from clusterapp.web.routing import Routes
from clusterapp.worker.worker_site import _forward
from tests.unit.http.clients import Client


class Proxy:
    """Answers in place of the core."""

    def forward(self, exchange: Exchange) -> None:
        exchange.respond(ResponseHead(200, b"OK", [(b"Content-Length", b"4")]), b"core")
        exchange.finish()


class OnceTests(SynchronousTestCase):
    """A worker's site, with the routes of both sides."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.app, self.core = Klein(), Klein()
        self.asked: list[str] = []
        find = RouteTree.find

        def noted(tree: RouteTree, method: bytes, path: str) -> Any:
            self.asked.append(path)
            return find(tree, method, path)

        self.patch(RouteTree, "find", noted)
        self.route(self.app, "/<name>")
        self.route(self.core, "/core/<int:n>")

    def route(self, app: Klein, rule: str, result: Any = b"ok", **options: Any) -> None:
        def handler(request: Any, **values: Any) -> Any:
            return result if result != b"ok" else f"{rule} {values}"

        setattr(handler, STREAMED, options.pop("streamed", False))
        app.route(rule, endpoint=rule, **options)(handler)

    def client(self, root: Klein | None = None) -> Client:
        routes = Routes(self.app, self.core, "/static/")
        forward = _forward(routes, cast("Any", Proxy()))
        resource = klein_resource(self.app if root is None else root)
        client = Client(ClusterSite(self.clock, resource, forward), self.clock)
        self.addCleanup(client.goes)
        return client

    def ask(self, target: str, method: str = "GET", root: Klein | None = None) -> bytes:
        """Ask; give the answer, and note what was looked up."""
        client = self.client(root)
        self.asked.clear()
        length = "" if method == "GET" else "Content-Length: 1\r\n"
        client.send(f"{method} {target} HTTP/1.1\r\nHost: h\r\n{length}\r\n".encode())
        if length:
            client.send(b"x")
        return client.received

    def test_every_request(self) -> None:
        """It is looked up once, found or not, with a body or without."""
        self.route(self.app, "/up/<name>", methods=["POST"], streamed=True)
        for method, target, answer in (
            ("GET", "/me", b"/<name> {'name': 'me'}"),
            ("POST", "/me", b"/<name> {'name': 'me'}"),
            ("POST", "/up/me", b"/up/<name> {'name': 'me'}"),
            ("GET", "/core/1", b"core"),
            ("POST", "/core/1", b"core"),
            ("GET", "/not/there", b"404"),
        ):
            self.assertIn(answer, self.ask(target, method))
            self.assertEqual(self.asked, [target], method)

    def test_application_alone(self) -> None:
        """Without a core, too."""
        self.route(self.app, "/up/<name>", methods=["POST"], streamed=True)
        resource = klein_resource(self.app)
        for method, target in (("GET", "/me"), ("POST", "/up/me"), ("POST", "/me")):
            client = Client(ClusterSite(self.clock, resource), self.clock)
            self.addCleanup(client.goes)
            self.asked.clear()
            head = f"{method} {target} HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n"
            client.send(head.encode(), b"x")
            self.assertIn(b"'name': 'me'", client.received)
            self.assertEqual(self.asked, [target])

    def test_application_within_another(self) -> None:
        """It finds its own route, though nothing of the path is matched yet."""
        inner = Klein()
        self.route(inner, "/<a>/<b>")
        self.route(self.app, "/", klein_resource(inner), branch=True)
        self.assertIn(b"/<a>/<b> {'a': '1', 'b': '2'}", self.ask("/1/2"))

    def test_rendered_again(self) -> None:
        """A handler may change the method; the route is another one then."""
        resource = klein_resource(self.app)

        @self.app.route("/", methods=["GET"])
        def get(request: Any) -> Any:
            request.method = b"POST"
            return resource.render(request)

        self.route(self.app, "/", methods=["POST"])
        self.assertIn(b"/ {}", self.ask("/"))
        self.assertEqual(self.asked, ["/", "/"])

    def test_other_root(self) -> None:
        """A route of another Klein than the one that serves is not used."""
        other = Klein()
        self.route(other, "/<word>")
        self.assertIn(b"/<word> {'word': 'me'}", self.ask("/me", root=other))

    def test_static_path_that_is_no_file(self) -> None:
        """It is the application's, whatever rules the core has."""
        self.route(self.core, "/static/<path:p>")
        self.route(self.app, "/static/<name>")
        self.assertIn(b"/static/<name> {'name': 'a'}", self.ask("/static/a"))
