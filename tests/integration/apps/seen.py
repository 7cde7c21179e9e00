"""An application that tells all that it sees of a request's client and URL."""

import json
from contextvars import ContextVar
from typing import Any

from twisted.internet.interfaces import ISSLTransport

from clusterapp import Application

user = ContextVar("user", default="nobody")
app = Application()


def url_path(request: Any) -> str:
    """Return Twisted's URLPath, which cannot write IPv6 addresses."""
    try:
        return str(request.URLPath()).rpartition("/")[0]
    except ValueError as error:
        return repr(error)


def seen(request: Any) -> str:
    """Return it, but for the path."""
    transport = request.transport
    shown = transport.getPeerCertificate() if request.isSecure() else None
    client, host = request.getClientAddress(), request.getHost()
    return json.dumps(
        {
            "client": [type(client).__name__, client.host, client.port],
            "client attribute": repr(request.client),
            "client ip": request.getClientIP(),
            "host": [type(host).__name__, host.host, host.port],
            "peer": repr(transport.getPeer()),
            "transport host": repr(transport.getHost()),
            "secure": bool(request.isSecure()),
            "encrypted": ISSLTransport.providedBy(transport),
            "certificate": shown and shown.get_subject().O,
            "name": request.getRequestHostname().decode(),
            "Host": repr(request.getHeader(b"host")),
            "url": request.prePathURL().decode().rpartition("/")[0],
            "URLPath": url_path(request),
            "authorization": request.getHeader("authorization"),
            "cookie": repr(request.getCookie(b"a")),
            "own": request.getHeader("clusterapp-from"),
        }
    )


@app.route("/seen")
def in_worker(request: Any) -> str:
    """Return it in a worker, and which that is."""
    request.setHeader("X-Slot", str(app.cluster.slot))
    return seen(request)


@app.core.route("/seen-by-the-core")
def in_core(request: Any) -> str:
    """Return it in the core."""
    return seen(request)


@app.route("/login/<name>")
def login(request: Any, name: str) -> str:
    """Set a context variable in a worker."""
    user.set(name)
    return user.get()


@app.route("/who")
def who(request: Any) -> str:
    """Return the context variable."""
    return user.get()


@app.core.route("/core/login/<name>")
def core_login(request: Any, name: str) -> str:
    """Set a context variable in the core."""
    user.set(name)
    return user.get()


@app.core.route("/core/who")
def core_who(request: Any) -> str:
    """Return the context variable."""
    return user.get()


@app.route("/cart/")
def cart(request: Any) -> str:
    """Answer at the target of a redirect."""
    return "cart"


@app.core.route("/orders/")
def orders(request: Any) -> str:
    """Answer at the target of a core's redirect."""
    return "orders"
