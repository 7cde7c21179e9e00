"""Resources on the way to a request's own, by twisted.web and by the engine: alike."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.python.urlpath import URLPath
from twisted.web.pages import notFound
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET, Site
from twisted.web.util import DeferredResource, Redirect
from twisted.web.vhost import NameVirtualHost, VHostMonsterResource

from tests.unit.http.side_by_side import Calling, SideBySideTestCase, get

PATHS = (
    "/",
    "//",
    "/leaf",
    "/leaf/",
    "/leaf/a/b//c/",
    "/leaf/a%2Fb/%C3%B6",
    "/%6ceaf/x",
    "/node",
    "/node/",
    "/node//",
    "/node/leaf/x",
    "/node/node/node/leaf/y",
    "/any",
    "/any/",
    "/any/one/two",
    "/any/%2F/two",
    "/any/stop/three/four",
    "/none/at/all",
    "/deferred/x/y",
    "/later/x/y",
    "/site/leaf/z",
    "/site/",
    "/site/written",
    "/redirect",
    "/leaf?x=/y/z",
)


def look(request: Any, seen: list[Any]) -> bytes:
    """Record the request's paths and the URLs made from them."""
    seen.append((request.prepath, request.postpath, request.sitepath))
    seen.append((request.prePathURL(), str(URLPath.fromRequest(request))))
    seen.append((request.childLink(b"x"), request.sibLink(b"x"), request.getRootURL()))
    return b"/".join(request.postpath)


def write(request: Any, seen: list[Any]) -> int:
    """Answer in pieces."""
    request.write(b"some")
    request.finish()
    return NOT_DONE_YET


class Any_(Resource):  # noqa: N801
    """Has a child for each name."""

    def __init__(self, seen: list[Any], depth: int = 0) -> None:
        super().__init__()
        self._seen = seen
        self._depth = depth

    def getChild(self, path: bytes, request: Any) -> Resource:
        self._seen.append((path, request.prepath, request.postpath))
        if path == b"stop":
            return Calling(look, self._seen)
        return Any_(self._seen, self._depth + 1)

    def render_GET(self, request: Any) -> bytes:
        return look(request, self._seen) + b"%d" % self._depth


class Remembering(Resource):
    """Remembers the URL that led to it."""

    def getChild(self, path: bytes, request: Any) -> IResource:
        request.rememberRootURL()
        return self if not path else notFound()

    def render_GET(self, request: Any) -> bytes:
        return b"(%b)" % (request.getRootURL() or b"")


def tree(seen: list[Any]) -> Resource:
    """Make a site's resources, of every kind."""
    root, node = Resource(), Remembering()
    later: Deferred[IResource] = Deferred()
    inner = Resource()
    inner.putChild(b"leaf", Calling(look, seen))
    inner.putChild(b"written", Calling(write, seen))
    children: dict[bytes, Any] = {
        b"leaf": Calling(look, seen),
        b"node": node,
        b"any": Any_(seen),
        b"deferred": DeferredResource(succeed(Calling(look, seen))),
        b"later": DeferredResource(later),
        b"site": Site(inner),
        b"redirect": Redirect(b"/leaf"),
    }
    for name, child in children.items():
        root.putChild(name, child)
    node.putChild(b"leaf", Calling(look, seen))
    node.putChild(b"node", node)
    later.callback(Calling(look, seen))
    return root


class TreeTests(SideBySideTestCase):
    """Resources with children."""

    def test_paths(self) -> None:
        """Each leads to the same resource, which sees the same segments."""
        self.answers(tree, *map(get, PATHS))

    def test_leaf_at_the_root(self) -> None:
        """It has nothing before it, and all of the path behind."""
        self.called(look, *map(get, PATHS))

    @given(
        st.lists(
            st.sampled_from(["leaf", "any", "node", "stop", "", "%2F", "%", "%00", "."])
        )
    )
    def test_any_path(self, segments: list[str]) -> None:
        self.answers(tree, get("/" + "/".join(segments)))

    def test_star(self) -> None:
        """Asking for the server's options reaches no resource."""
        (answer,) = self.called(look, get("*", method="OPTIONS"))
        self.assertEqual(answer.status, b"200 OK")
        self.assertEqual(answer.length, b"0")

    def test_segments_may_be_changed_on_the_way(self) -> None:
        """As resources do that stand for others."""

        class Skipping(Resource):
            def __init__(self, seen: list[Any]) -> None:
                super().__init__()
                self._seen = seen

            def getChild(self, path: bytes, request: Any) -> Resource:
                request.postpath.insert(0, b"more")
                request.prepath[-1:] = [b"less", b"or"]
                request.path = b"/neither"
                return Calling(look, self._seen)

        self.answers(Skipping, get("/a/b"), get("/"))


class VirtualHostTests(SideBySideTestCase):
    """Resources that are chosen by the host."""

    def test_by_name(self) -> None:
        """The name that the client asks for chooses the tree."""

        def root(seen: list[Any]) -> Resource:
            hosts: Any = NameVirtualHost()
            hosts.addHost(b"shop.example", tree(seen))
            hosts.default = Calling(look, seen)
            made: Resource = hosts
            return made

        self.answers(
            root,
            get("/leaf/x"),
            get("/any/x/y"),
            b"GET /leaf/x HTTP/1.1\r\nHost: other:12345\r\n\r\n",
            b"GET /leaf/x HTTP/1.1\r\nHost: SHOP.example:12345\r\n\r\n",
            b"GET /leaf/x HTTP/1.0\r\n\r\n",
        )

    def test_by_path(self) -> None:
        """A front may say in the path which host was asked for."""

        def root(seen: list[Any]) -> Resource:
            made = tree(seen)
            made.putChild(b"vhost", VHostMonsterResource())
            return made

        self.answers(
            root,
            get("/vhost/http/front:80/leaf/x"),
            get("/vhost/https/front:444/leaf/x"),
            get("/vhost/http/front:81/any/x"),
        )
