"""Static files and applications of every kind below one root."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from klein import Klein
from treq.testing import StubTreq
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request
from twisted.web.wsgi import WSGIResource

from clusterapp.web.serving import Front


class Tree(Resource):
    """Tells where it was found, however deep."""

    def getChild(self, path: bytes, request: Request) -> Resource:
        return Tree()

    def render_GET(self, request: Request) -> bytes:
        assert request.prepath is not None
        return b"tree " + b"|".join(request.prepath)


class Leaf(Resource):
    """Tells what is left of the path."""

    isLeaf = True

    def render_GET(self, request: Request) -> bytes:
        return b"leaf %r %r" % (request.prepath, request.postpath)


class HereReactor:
    """A reactor and a thread pool, with the test's thread for both."""

    def callInThread(self, call: Callable[[], None]) -> None:
        call()

    def callFromThread(self, call: Callable[..., None], *args: Any) -> None:
        call(*args)


class FrontTests(SynchronousTestCase):
    """The application sees what it would see alone."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        (self.folder / "sub").mkdir(parents=True)
        # What it sends is tested with static files; an answer without a body needs
        # no reactor.
        (self.folder / "sub" / "index.html").write_bytes(b"")

    def fetch(
        self, application: IResource, path: str, method: str = "GET"
    ) -> tuple[int, str]:
        http: Any = StubTreq(Front(application, self.folder, "/assets/v1/"))
        made = http.request(method, f"http://a.invalid{path}", allow_redirects=False)
        response = self.successResultOf(made)
        text = self.successResultOf(http.text_content(response))
        return response.code, text

    def test_klein(self) -> None:
        app = Klein()

        @app.route("/", branch=True)
        def all_of_it(request: IRequest) -> bytes:
            return b"%r %r" % (request.prepath, request.postpath)

        resource = app.resource()
        self.assertEqual(self.fetch(resource, "/a/b"), (200, "[] [b'a', b'b']"))
        self.assertEqual(self.fetch(resource, "/"), (200, "[] [b'']"))
        self.assertEqual(self.fetch(resource, "/a//b/")[1], "[] [b'a', b'', b'b', b'']")

    def test_tree_of_resources(self) -> None:
        self.assertEqual(self.fetch(Tree(), "/a/b"), (200, "tree a|b"))
        self.assertEqual(self.fetch(Tree(), "/"), (200, "tree "))

    def test_leaf(self) -> None:
        self.assertEqual(self.fetch(Leaf(), "/a/b"), (200, "leaf [] [b'a', b'b']"))

    def test_head(self) -> None:
        """It is made of GET by twisted.web, which renders a second time."""
        self.assertEqual(self.fetch(Tree(), "/a/b", "HEAD"), (200, ""))
        self.assertEqual(self.fetch(Leaf(), "/a", "HEAD"), (200, ""))

    def test_wsgi(self) -> None:
        def application(environ: dict[str, str], start_response: Any) -> list[bytes]:
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [f"{environ['SCRIPT_NAME']!r} {environ['PATH_INFO']!r}".encode()]

        here = HereReactor()
        resource = WSGIResource(here, here, application)
        self.assertEqual(self.fetch(resource, "/a/b/"), (200, "'' '/a/b/'"))
        self.assertEqual(self.fetch(resource, "/"), (200, "'' '/'"))

    def test_static_files(self) -> None:
        for application in (Klein().resource(), Tree(), Leaf()):
            self.assertEqual(self.fetch(application, "/assets/v1/sub")[0], 302)
            self.assertEqual(self.fetch(application, "/assets/v1/none")[0], 404)
            self.assertEqual(self.fetch(application, "/assets/v1/")[0], 404)

    def test_beside_static_files(self) -> None:
        """Half of the path is the application's."""
        self.assertEqual(self.fetch(Tree(), "/assets/v1"), (200, "tree assets|v1"))
        self.assertEqual(self.fetch(Tree(), "/assets/v2/x")[1], "tree assets|v2|x")
        self.assertEqual(self.fetch(Tree(), "/assets%2Fv1/x")[1], "tree assets/v1|x")
