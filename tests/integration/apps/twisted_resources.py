"""
Twisted's own resources, as its manual shows them, in one tree.

``python twisted_resources.py SOCKET`` serves it by Twisted's own site on a free port,
which it prints, and publishes it to `distrib.ResourceSubscription` on a Unix socket.
"""

import os
import sys
from pathlib import Path
from typing import Any

from klein import Klein
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import IRealm, Portal
from twisted.internet import reactor as the_reactor
from twisted.spread import pb
from twisted.web import distrib, proxy, rewrite, script, static, twcgi, vhost, xmlrpc
from twisted.web.guard import (
    BasicCredentialFactory,
    DigestCredentialFactory,
    HTTPAuthSessionWrapper,
)
from twisted.web.resource import EncodingResourceWrapper, IResource, Resource
from twisted.web.server import NOT_DONE_YET, GzipEncoderFactory, Request, Site
from twisted.web.template import Element, TagLoader, renderElement, renderer, tags
from twisted.web.util import Redirect
from twisted.web.websocket import WebSocketResource, WebSocketTransport
from twisted.web.wsgi import WSGIResource
from zope.interface import implementer

#: The folder of the test: files, scripts, and where the publisher is.
FOLDER = Path(os.environ["RESOURCES"])
#: The port of the server behind the reverse proxy.
BACKEND = int(os.environ["BACKEND"])

reactor: Any = the_reactor


class Hello(Resource):
    """A resource with children that it makes itself."""

    def __init__(self, name: bytes = b"") -> None:
        super().__init__()
        self.name = name

    def getChild(self, path: bytes, request: Request) -> Resource:
        """Return a resource that greets the name in the path."""
        return self if not path else Hello(path)

    def render_GET(self, request: Request) -> bytes:
        """Greet."""
        url: bytes = request.prePathURL()
        return b"hello " + self.name + b" at " + url


class Visits(Resource):
    """Counts in a session."""

    isLeaf = True

    def render_GET(self, request: Request) -> bytes:
        """Count."""
        session: Any = request.getSession()
        session.visits = getattr(session, "visits", 0) + 1
        return b"%d" % session.visits


class Upload(Resource):
    """Takes forms and files."""

    isLeaf = True

    def render_POST(self, request: Request) -> bytes:
        """Return what came."""
        assert request.content is not None
        size = len(request.content.read())
        args: Any = request.args
        return repr((size > 0, sorted(args.items()))).encode()


class Slow(Resource):
    """Answers later, in pieces."""

    isLeaf = True

    def render_GET(self, request: Request) -> int:
        """Answer in two pieces."""
        request.write(b"first ")
        reactor.callLater(0.01, self._finish, request)
        return NOT_DONE_YET

    def _finish(self, request: Request) -> None:
        request.write(b"second")
        request.finish()


class Page(Element):
    """A template."""

    loader = TagLoader(tags.p(render="name"))

    @renderer
    def name(self, request: Request, tag: Any) -> Any:
        """Fill it."""
        return tag("an element")


class Templated(Resource):
    """Renders a template."""

    isLeaf = True

    def render_GET(self, request: Request) -> object:
        """Render."""
        return renderElement(request, Page())


class Adder(xmlrpc.XMLRPC):
    """Adds."""

    def xmlrpc_add(self, a: int, b: int) -> int:
        """Add."""
        return a + b


class Undeclared:
    """A producer that declares no interface."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.left = 3

    def resumeProducing(self) -> None:
        """Write a piece, three in all."""
        self.left -= 1
        self.request.write(b"piece ")
        if not self.left:
            self.request.unregisterProducer()
            self.request.finish()

    def pauseProducing(self) -> None:
        """Produce nothing by itself."""

    def stopProducing(self) -> None:
        """Produce nothing by itself."""


class Pulled(Resource):
    """Lets a producer write, which it pulls or which pushes."""

    isLeaf = True

    def render_GET(self, request: Request) -> int:
        """Register a producer."""
        producer: Any = Undeclared(request)
        pushes = b"push" in (request.args or {})
        request.registerProducer(producer, pushes)
        if pushes:
            for _ in range(3):
                producer.resumeProducing()
        return NOT_DONE_YET


class Echo:
    """A WebSocket that says everything back."""

    @classmethod
    def buildProtocol(cls, request: Any) -> "Echo":
        """Make one for a connection."""
        return cls()

    def negotiationStarted(self, transport: WebSocketTransport) -> None:
        """Keep the transport."""
        self.transport = transport

    def negotiationFinished(self) -> None:
        """Do nothing yet."""

    def textMessageReceived(self, message: str) -> None:
        """Say it back."""
        self.transport.sendTextMessage(message)

    def bytesMessageReceived(self, data: bytes | bytearray) -> None:
        """Say it back."""
        self.transport.sendBytesMessage(bytes(data))

    def pongReceived(self, payload: bytes) -> None:
        """Do nothing."""

    def connectionLost(self, reason: Any) -> None:
        """Do nothing."""


@implementer(IRealm)
class _Realm:
    """Returns the same resource for every avatar."""

    def requestAvatar(self, avatar: Any, mind: Any, *interfaces: Any) -> Any:
        """Return it."""
        who = avatar if isinstance(avatar, bytes) else b"nobody"
        return IResource, static.Data(b"for " + who, "text/plain"), lambda: None


def wsgi_application(environ: dict[str, Any], start: Any) -> list[bytes]:
    """Return the path and the body."""
    start("200 OK", [("Content-Type", "text/plain")])
    body = environ["wsgi.input"].read()
    return [f"{environ['SCRIPT_NAME']} {environ['PATH_INFO']} {len(body)}".encode()]


def tree() -> Resource:
    """Make the tree."""
    files: Any = static.File(str(FOLDER / "files"))
    files.processors = {".rpy": script.ResourceScript, ".cgi": twcgi.CGIScript}
    files.ignoreExt(".html")
    hosts: Any = vhost.NameVirtualHost()
    hosts.default = static.Data(b"default host", "text/plain")
    hosts.addHost(b"one.example", static.Data(b"host one", "text/plain"))
    users = InMemoryUsernamePasswordDatabaseDontUse(alice=b"secret")
    portal = Portal(_Realm(), [users])
    children: dict[str, Any] = {
        "": static.Data(b"root", "text/plain"),
        "hello": Hello(),
        "files": files,
        "cgi-bin": twcgi.CGIDirectory(str(FOLDER / "cgi-bin")),
        "vhost": hosts,
        "monster": vhost.VHostMonsterResource(),
        "rewrite": rewrite.RewriterResource(Hello(), rewrite.tildeToUsers),
        "basic": HTTPAuthSessionWrapper(portal, [BasicCredentialFactory(b"shop")]),
        "digest": HTTPAuthSessionWrapper(
            portal, [DigestCredentialFactory(b"md5", b"shop")]
        ),
        "proxy": proxy.ReverseProxyResource("127.0.0.1", BACKEND, b"/behind"),
        "wsgi": WSGIResource(reactor, reactor.getThreadPool(), wsgi_application),
        "visits": Visits(),
        "upload": Upload(),
        "slow": Slow(),
        "template": Templated(),
        "xmlrpc": Adder(),
        "producer": Pulled(),
        "redirect": Redirect(b"hello"),
        "gzip": EncodingResourceWrapper(
            static.Data(b"zip" * 1000, "text/plain"), [GzipEncoderFactory()]
        ),
        "websocket": WebSocketResource(Echo),
        "subscription": distrib.ResourceSubscription("unix", str(FOLDER / "published")),
    }
    root = Resource()
    for name, child in children.items():
        root.putChild(name.encode(), child)
    return root


root = tree()

_below = Klein()
_trees = tree()
_below.route("/tree/", branch=True)(lambda _: _trees)
root.putChild(b"klein", _below.resource())

core = Klein()
_cores = tree()
core.route("/core/", branch=True)(lambda _: _cores)


def _serve(path: str) -> None:
    site = Site(tree())
    port = reactor.listenTCP(0, site, interface="127.0.0.1")
    reactor.listenUNIX(path, pb.PBServerFactory(distrib.ResourcePublisher(site)))
    print(f"listening at http://127.0.0.1:{port.getHost().port}", flush=True)
    reactor.run()


if __name__ == "__main__":
    _serve(sys.argv[1])
