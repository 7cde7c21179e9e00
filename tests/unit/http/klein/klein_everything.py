"""An application that does everything that a Klein can do."""

from typing import Any

from klein import Klein, Plating, Response
from klein.interfaces import IKleinRequest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure
from twisted.web.iweb import IRenderable
from twisted.web.pages import notFound
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET
from twisted.web.template import Element, TagLoader, renderer, slot, tags
from werkzeug.exceptions import NotFound
from werkzeug.routing import BaseConverter, Map
from zope.interface import implementer

from tests.unit.http.klein.klein_pairs import Pending, ResourceOf

#: Paths, each with what is to come of it in one word.
PATHS = {
    "/": "bytes",
    "/text": "str",
    "/none": "nothing",
    "/number": "nothing",
    "/item/12": "converted",
    "/item/word": "404",
    "/both/x/1.5": "converted",
    "/upper/word": "converted by the application",
    "/upper/wrong": "404",
    "/defaults": "rule with defaults",
    "/files/a/b/c": "branch",
    "/files/": "branch",
    "/files": "redirect",
    "//text": "redirect or not, as Klein does",
    "/files//a": "merged slashes",
    "/alias": "redirect",
    "/moved/3": "redirect",
    "/links": "url_for",
    "/sub/inner/7": "subroute",
    "/mounted/deep/5": "a Klein in a Klein",
    "/mounted/none": "404 in it",
    "/tree/left": "resource",
    "/tree/": "resource",
    "/tree/none": "404 in it",
    "/slow-tree": "resource that takes its time",
    "/element": "renderable",
    "/tag": "renderable",
    "/slow-element": "renderable that takes its time",
    "/text-element": "renderable",
    "/plated": "plating",
    "/plated?json=1": "plating",
    "/response": "Response",
    "/coroutine": "coroutine",
    "/coroutine-resource": "resource at last",
    "/succeeded": "Deferred",
    "/failed": "error handler",
    "/failure": "error handler",
    "/raises": "error handler",
    "/raises-again": "second error handler",
    "/raises-the-same": "500, since no handler is asked twice",
    "/raises-unhandled": "500",
    "/abort": "404",
    "/teapot": "error handler with a resource",
    "/writes": "write and return",
    "/finishes": "finished by the handler",
    "/later": "Deferred that is pending",
    "/only-post": "405",
    "/nowhere": "404",
    "/%2Ftext": "quoted slash",
    "/f%C3%B6%C3%B6/%E2%82%AC": "UTF-8",
    "/text?a=b": "query",
}


class _Upper(BaseConverter):
    def to_python(self, value: str) -> str:
        if value == "wrong":
            raise ValueError(value)
        return value.upper()


class _Leaf(Resource):
    isLeaf = True

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self._body = body

    def render(self, request: Any) -> bytes:
        return self._body + repr((request.prepath, request.postpath)).encode()


class _Tree(Resource):
    def getChild(self, path: bytes, request: Any) -> IResource:
        return notFound()


class _Slow(Resource):
    isLeaf = True

    def __init__(self, pending: Pending) -> None:
        super().__init__()
        self._pending = pending

    def render(self, request: Any) -> int:
        waited = self._pending.new()
        waited.addCallback(lambda text: request.write(text.encode()))
        waited.addCallback(lambda _: request.finish())
        return NOT_DONE_YET


class _Greeting(Element):
    loader = TagLoader(tags.h1(render="name"))

    @renderer
    def name(self, _: Any, tag: Any) -> Any:
        return tag("hello")


class _SlowGreeting(_Greeting):
    def __init__(self, pending: Pending) -> None:
        super().__init__()
        self._pending = pending

    @renderer
    def name(self, _: Any, tag: Any) -> Any:
        return self._pending.new().addCallback(tag)


@implementer(IRenderable)
class _TextElement(str):
    """A str that would rather be rendered."""

    __slots__ = ()

    def lookupRenderMethod(self, name: str) -> Any:
        raise NotImplementedError(name)

    def render(self, _: Any) -> Any:
        return tags.b(str(self))


class AppError(Exception):
    """What the error handlers of the application take."""


class TeapotError(AppError):
    """The same, for the more special one."""


def everything(pending: Pending, resource_of: ResourceOf) -> Klein:
    """Make it."""
    app = Klein()
    app._url_map = Map(converters={"upper": _Upper})
    _bodies(app)
    _paths(app, resource_of)
    _renderables(app)
    _deferreds(app, pending)
    _errors(app)
    return app


def told(request: Any, **values: object) -> str:
    """Return what a handler sees of its dispatch."""
    known = IKleinRequest(request)
    seen = (values, request.prepath, request.postpath, known.branch_segments)
    return f"{seen} {known.mapper.server_name} {known.mapper.path_info}"


def _bodies(app: Klein) -> None:
    app.route("/", endpoint="root")(lambda _: b"bytes")
    app.route("/text", endpoint="text")(lambda _: "text \u20ac")
    app.route("/none", endpoint="none")(lambda _: None)
    app.route("/number", endpoint="number")(_returns(5))
    app.route("/only-post", methods=["POST"], endpoint="post")(lambda _: "posted")
    app.route("/f\xf6\xf6/<name>", endpoint="utf8")(told)

    @app.route("/writes")
    def writes(request: Any) -> bytes:
        request.setResponseCode(201)
        request.setHeader("x-own", "1")
        request.write(b"first ")
        return b"second"

    @app.route("/finishes")
    def finishes(request: Any) -> None:
        request.write(b"all")
        request.finish()

    @app.route("/response")
    def response(_: Any) -> Any:
        return Response(202, {"x-own": ["1", "2"]}, b"accepted")


def _paths(app: Klein, resource_of: ResourceOf) -> None:
    app.route("/item/<int:n>", endpoint="item")(told)
    app.route("/both/<name>/<float:size>", endpoint="both")(told)
    app.route("/upper/<upper:name>", endpoint="upper")(told)
    app.route("/defaults", defaults={"page": 1}, endpoint="defaults")(told)
    app.route("/files/", branch=True, endpoint="files")(told)
    app.route("/real", endpoint="real")(told)
    app.route("/alias", alias=True, endpoint="real")(told)
    app.route("/moved/<int:n>", redirect_to="/item/<n>", endpoint="moved")(told)

    @app.route("/links")
    def links(request: Any) -> str:
        known = IKleinRequest(request)
        outside = known.url_for("item", {"n": 5}, force_external=True)
        return f"{known.url_for('item', {'n': 4})} {outside}"

    with app.subroute("/sub"):
        app.route("/inner/<int:n>", endpoint="inner")(told)

    inner = Klein()
    inner.route("/deep/<n>", endpoint="deep")(told)

    @app.route("/mounted", branch=True)
    def mounted(_: Any) -> Any:
        return resource_of(inner)

    @app.route("/tree", branch=True)
    def tree(_: Any) -> Resource:
        root = _Tree()
        root.putChild(b"left", _Leaf(b"left"))
        root.putChild(b"", _Leaf(b"root"))
        return root


def _renderables(app: Klein) -> None:
    plating = Plating(tags=tags.html(tags.body(slot(Plating.CONTENT))))
    app.route("/element", endpoint="element")(lambda _: _Greeting())
    app.route("/text-element", endpoint="textual")(lambda _: _TextElement("bold"))
    app.route("/tag", endpoint="tag")(lambda _: tags.p("tag"))

    plated = plating.routed(app.route("/plated"), tags.span(slot("name")))
    plated(_returns({"name": "plated"}))


def _deferreds(app: Klein, pending: Pending) -> None:
    app.route("/later", endpoint="later")(lambda _: pending.new())
    app.route("/slow-tree", endpoint="slow-tree")(lambda _: _Slow(pending))
    app.route("/slow-element", endpoint="slow-element")(
        lambda _: _SlowGreeting(pending)
    )
    app.route("/succeeded", endpoint="succeeded")(lambda _: succeed("at last"))
    app.route("/failed", endpoint="failed")(lambda _: fail(AppError("failed")))
    app.route("/failure", endpoint="failure")(_returns(Failure(AppError("failure"))))

    @app.route("/coroutine")
    async def coroutine(request: Any) -> str:
        return told(request, awaited=await succeed(1))

    @app.route("/coroutine-resource")
    async def coroutine_resource(_: Any) -> Resource:
        return _Leaf(b"late")

    @app.route("/later-error")
    def later_error(_: Any) -> Deferred[Any]:
        def raises(_: object) -> None:
            raise AppError("later")

        return pending.new().addCallback(raises)


def _errors(app: Klein) -> None:
    @app.handle_errors(TeapotError)
    def teapot(request: Any, failure: Failure) -> Resource:
        request.setResponseCode(418)
        return _Leaf(b"short and stout")

    @app.handle_errors(AppError)
    def app_error(request: Any, failure: Failure) -> Deferred[str]:
        request.setResponseCode(409)
        if str(failure.value) == "again":
            raise LookupError("in the handler")
        if str(failure.value) == "the same":
            failure.raiseException()
        return succeed(f"handled {failure.value}")

    @app.handle_errors(LookupError)
    def lookup(request: Any, failure: Failure) -> str:
        return f"looked up {failure.value}"

    app.route("/raises", endpoint="r1")(_raises(AppError("raised")))
    app.route("/raises-again", endpoint="r2")(_raises(AppError("again")))
    app.route("/raises-the-same", endpoint="r6")(_raises(AppError("the same")))
    app.route("/raises-unhandled", endpoint="r3")(_raises(RuntimeError("no")))
    app.route("/teapot", endpoint="r4")(_raises(TeapotError()))
    app.route("/abort", endpoint="r5")(_raises(NotFound("none")))


def _returns(result: Any) -> Any:
    def returning(_: Any) -> Any:
        return result

    return returning


def _raises(error: Exception) -> Any:
    def raising(_: Any) -> None:
        raise error

    return raising
