"""
What clients may send of every kind, to a Klein and to twisted.web's own resources.

None of it makes an error of the server's, nor a traceback in its log.
"""

import base64
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from klein import Klein
from twisted.internet.task import Clock
from twisted.trial import util
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource

from clusterapp.http.klein.klein_resource import klein_resource
from clusterapp.http.site import ClusterSite
from tests.unit.http.clients import Client

with warnings.catch_warnings():
    # It makes pages when it is imported, of a kind that Twisted has deprecated.
    warnings.simplefilter("ignore", DeprecationWarning)
    from twisted.web.static import File

_ODD = b"\xff\xfe"
PATHS = (
    *(b"/%c0", b"/%ff/%fe", b"/%00", b"/path/%c0", b"/path/%00", b"/int/\xd9\xa3"),
    *(b"/int/" + b"9" * 5000, b"/float/1e999", b"/float/" + b"9" * 400 + b".0"),
    *(
        b"/files/%c0",
        b"/files/%00",
        b"/files/a%00b",
        b"/files/%2e%2e/",
        b"/files/..%2f",
    ),
    *(b"/files/" + b"a" * 300, b"/files/none/%00", b"//", b"/..", b"/%", b"/%zz", b"*"),
    *(b"/look?%c0=%ff&;&=", b"/look?" + b"&" * 1000, b"/look?a=%zz&%=%"),
)
FIELDS = (
    *(b"Cookie: a", b"Cookie: =;;=;" + _ODD, b"Cookie: TWISTED_SESSION=" + _ODD),
    *(b"Authorization: " + value for value in (b"Basic", b"Basic !", b"Basic " + _ODD)),
    b"Authorization: Basic " + base64.b64encode(b"nocolon"),
    *(b"If-Modified-Since: " + value for value in (b";", _ODD, b"9" * 5000)),
    b"If-Modified-Since: Sun, 99 Xyz 99999 99:99:99 GMT",
    b"If-None-Match: ,,," + _ODD,
    *(
        b"Range: " + value
        for value in (
            *(b"bytes=", b"bytes=,", b"bytes", b"=", b"", _ODD, b"bytes=--1", b"a=1-2"),
            *(b"bytes=a-b", b"bytes=5-1", b"bytes=+1-2", b"bytes=0-0," * 50 + b"1-1"),
            *(b"bytes=%b-" % (b"9" * 4000), b"bytes=-" + b"9" * 4000, b"bytes=" + _ODD),
        )
    ),
    b"Accept-Encoding: gzip;q=x, " + _ODD,
    b"User-Agent: " + _ODD,
    b"X-Forwarded-For: " + _ODD,
    b"Content-Type: " + _ODD,
)
HOSTS = (b"a..b", b"-", b"[::1]:80", b"h:99999", b"h:", b"a" * 300, b"a_b", b".")
METHODS = (b"PROPFIND", b"OPTIONS", b"PATCH", b"DELETE", b"M-SEARCH", b"TRACE", b"PUT")


def requests() -> Iterator[bytes]:
    """Return all of them."""
    for path in PATHS:
        for method in (b"GET", b"HEAD", b"POST"):
            yield request(path, method=method)
    for path in (b"/look", b"/files/a.txt", b"/int/1", b"/nowhere"):
        for field in FIELDS:
            yield request(path, field)
        for host in HOSTS:
            yield request(path, host=host)
        for method in METHODS:
            yield request(path, method=method)
    for host in HOSTS:
        for path in (b"/files", b"/%c0", b"/url"):
            yield request(path, host=host)


def request(
    target: bytes, *lines: bytes, method: bytes = b"GET", host: bytes = b"h"
) -> bytes:
    """Write a request."""
    first = b"%b %b HTTP/1.1" % (method, target)
    return b"\r\n".join([first, b"Host: " + host, *lines, b"", b""])


class HostileTests(SynchronousTestCase):
    """Every request has an answer that blames the client, or none."""

    # Twisted's error pages call what Twisted has deprecated.
    suppress: ClassVar = [util.suppress(message=".*_Unsafe.*")]

    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "a.txt").write_bytes(b"0123456789")
        self.files = File(str(folder))
        self.clock = Clock()
        self.tree_of_files: Any = None

    def klein(self) -> Any:
        app = Klein()
        app.route("/path/<path:p>", endpoint="path")(lambda _, p: p)
        app.route("/int/<int:n>", endpoint="int")(lambda _, n: str(n)[:9])
        app.route("/float/<float:n>", endpoint="float")(lambda _, n: str(n))
        app.route("/files/", branch=True, endpoint="files")(lambda _: self.files)
        app.route("/look", endpoint="look")(_look)
        return klein_resource(app)

    def tree(self) -> Any:
        class Look(Resource):
            def render(self, request: Any) -> bytes:
                return _look(request)

        root = Resource()
        root.putChild(b"look", Look())
        root.putChild(b"files", self.files)
        return root

    def assert_blameless(self, resource: Any) -> None:
        site = ClusterSite(self.clock, resource)
        for raw in requests():
            if resource is self.tree_of_files and b"/files/%c0" in raw:
                continue  # twisted.web's own File logs it
            client = Client(site, self.clock)
            client.send(raw)
            self.clock.pump([0] * 5)
            status = client.received[9:12]
            client.goes()
            shown = raw[:200]
            self.assertNotIn(status, (b"", b"500"), shown)
            self.assertEqual(self.flushLoggedErrors(), [], shown)
        for session in list(site.sessions.values()):
            session.expire()

    def test_klein(self) -> None:
        self.assert_blameless(self.klein())

    def test_resources(self) -> None:
        self.tree_of_files = self.tree()
        self.assert_blameless(self.tree_of_files)


def _look(request: Any) -> bytes:
    """Look at all that twisted.web reads of a request."""
    for name in ("range", "user-agent", "accept", "x-forwarded-for", "content-type"):
        request.getHeader(name)
        request.getHeader(name.encode())
    request.getUser()
    request.getPassword()
    request.getCookie(b"a")
    request.getSession()
    request.getRequestHostname()
    request.setLastModified(1000)
    request.setETag(b'"x"')
    return repr((request.args, request.received_cookies)).encode()
