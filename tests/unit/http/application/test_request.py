"""
What an application sees of a request, by twisted.web and by the engine.

It is the same, but for these, on purpose:

- The class is named otherwise, and so is the request in its repr.
- A target in absolute-form is seen in origin-form (RFC 9112, section 3.2.2), and
  header fields that are folded over several lines are refused (section 5.2).
- A body is in memory up to 64 KiB, however it came, and beyond that in a file;
  twisted.web decides by 100,000 bytes, and never keeps chunked bodies in memory.
- `responseHeaders` has no Connection and no Transfer-Encoding: the engine adds both.
- URLs have the host and the port that the client has named; twisted.web puts its own
  port there, and writes IPv6 addresses without brackets.
- A Unix socket's `getRequestHostname` is ``localhost`` if the client names no other
  host; twisted.web fails.
- Spread cannot copy a request to another process (`getStateToCopyFor`).
"""

import copy
from collections.abc import Callable
from typing import Any

from klein import Klein
from klein.interfaces import IKleinRequest
from twisted.internet.interfaces import ITransport
from twisted.python.urlpath import URLPath
from twisted.web.http_headers import Headers
from twisted.web.iweb import IRequest
from twisted.web.server import Request

from clusterapp.http.klein.klein_resource import klein_resource
from tests.unit.http.side_by_side import SideBySideTestCase, get, plain, post

REQUESTS = (
    get(),
    get("/a/b%20c//%2F/?x=1&x=2&y="),
    get("/?"),
    get("/?a?b=c%3D&d=%C3%B6%FF+1"),
    get("/?a=1;b=2&=3&c&d=4=5"),
    get("/%zz%C3"),
    get("/x", "x-b: 2", "X-A:1", "X-B: \t3 ", "ETAG: \xe9", "www-authenticate: x"),
    get("/", "Cookie: a=1; b = 2;c;d=4=5", "cookie: a=6;; =7", "Cookie:"),
    get("/", "Authorization: Basic dXNlcjpwYXNzOndvcmQ="),
    get("/", "Authorization: basic dXNlcg=="),
    get("/", "Authorization: Basic !"),
    get("/", "Authorization: Digest dXNlcjpwYXNz"),
    get("/", "Authorization:"),
    get("/", method="DELETE"),
    b"GET /old HTTP/1.0\r\n\r\n",
    b"GET /old HTTP/1.0\r\nHost: Other.example:12345\r\n\r\n",
    post(b"abc"),
    post(b"abc", method="PUT"),
    post(b""),
    get("/", "Transfer-Encoding: chunked", method="POST") + b"3\r\nabc\r\n0\r\n\r\n",
)


def asked(request: Any) -> dict[str, Any]:
    """Ask it everything that does not change it."""
    return {
        "bytes": [request.getHeader(name) for name in (b"x-B", b"ETag", b"none")],
        "str": [request.getHeader(name) for name in ("x-B", "Host", "none")],
        "all": request.getAllHeaders(),
        "raw": list(request.requestHeaders.getAllRawHeaders()),
        "host lines": request.requestHeaders.getRawHeaders("host"),
        "cookies": [request.getCookie(name) for name in (b"a", b"b ", b"none", b"")],
        "user": (request.getUser(), request.getPassword()),
        "addresses": (request.getHost(), request.getClientAddress()),
        "secure": request.isSecure(),
        "hostname": request.getRequestHostname(),
        "url": request.prePathURL(),
        "path": _outcome(lambda: str(URLPath.fromRequest(request))),
        "URLPath": _outcome(lambda: str(request.URLPath())),
        "root": request.getRootURL(),
        "links": (request.childLink(b"x"), request.sibLink(b"x")),
        "content": (request.content.tell(), request.content.read()),
        "repr": repr(request).partition("method")[2],
        "provides": IRequest.providedBy(request),
        "is": isinstance(request, Request),
        "hashes": {request: 1}[request],
        "equal": (request == request, request != request),  # noqa: PLR0124
        "others": (request == 1, request == copy.copy(request)),
    }


def _outcome(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except ValueError as error:
        return repr(error)


class SightTests(SideBySideTestCase):
    """What is there, and what it answers."""

    def test_everything_that_is_there(self) -> None:
        """Before anything was asked for, and in any order."""

        def handler(request: Any, seen: list[Any]) -> bytes:
            seen.extend((plain(request), asked(request), plain(request)))
            return b""

        self.called(handler, *REQUESTS)

    def test_everything_that_it_answers(self) -> None:
        """Before any attribute was looked at."""

        def handler(request: Any, seen: list[Any]) -> bytes:
            seen.append(asked(request))
            return b""

        self.called(handler, *REQUESTS)

    def test_field_that_is_no_name(self) -> None:
        """Asking for it is an error, even where there is no field of any name."""

        def handler(request: Any, seen: list[Any]) -> bytes:
            for name in (b"a b", b"", "a:b", b"caf\xe9"):
                with self.assertRaises(ValueError) as caught:
                    request.getHeader(name)
                seen.append(repr(caught.exception))
            return b""

        self.called(handler, get())

    def test_connection(self) -> None:
        """The stream, the channel and the site are there, and belong together."""

        def handler(request: Any, seen: list[Any]) -> bytes:
            channel = request.channel
            seen.extend(
                (
                    ITransport.providedBy(request.transport),
                    request.transport is channel.transport,
                    request.site is channel.site,
                    request.site is channel.factory,
                    channel.getPeer() == request.client,
                    channel.getHost() == request.host,
                    channel.isSecure(),
                )
            )
            return b""

        self.called(handler, get())

    def test_copy(self) -> None:
        """A copy has what the request has, and changes of its own."""

        def handler(request: Any, seen: list[Any]) -> bytes:
            request.setHeader(b"x-set", b"1")
            other = copy.copy(request)
            other.uri = b"/other"
            other.setHost(b"other", 80)
            seen.extend((plain(other), request.uri, request.getHost()))
            return b""

        self.called(handler, get("/x?a=b"))

    def test_klein_request(self) -> None:
        """It adapts to Klein's request, which knows no mapper yet."""

        def handler(request: Any, seen: list[Any]) -> bytes:
            known: Any = IKleinRequest(request)
            seen.extend((known.branch_segments, hasattr(known, "mapper")))
            return b""

        self.called(handler, get())

    def test_component(self) -> None:
        """It keeps components (`Componentized`)."""

        def handler(request: Any, seen: list[Any]) -> bytes:
            seen.append(request.getComponent(ITransport))
            request.setComponent(ITransport, 1)
            seen.extend((request.getComponent(ITransport), ITransport(request)))
            request.unsetComponent(ITransport)
            seen.append(request.getComponent(ITransport))
            return b""

        self.called(handler, get())

    def test_client_ip_is_deprecated(self) -> None:
        """It is given, with twisted.web's warning."""

        def handler(request: Any, seen: list[Any]) -> bytes:
            seen.append(request.getClientIP())
            seen.append([w["message"] for w in self.flushWarnings()])
            return b""

        self.called(handler, get())


class ChangeTests(SideBySideTestCase):
    """What an application changes on its way, and what stays for that."""

    def test_host(self) -> None:
        """`setHost` changes the field, the address and the URLs."""

        def handler(request: Any, seen: list[Any]) -> bytes:
            for host, port, secure in (
                (b"a", 80, False),
                (b"b", 81, False),
                (b"c", 443, True),
                (b"d", 444, True),
            ):
                request.setHost(host, port, secure)
                seen.extend((asked(request), plain(request)))
            return b""

        self.called(handler, get("/x/y"))

    def test_root_url(self) -> None:
        """The URL that led here can be remembered."""

        def handler(request: Any, seen: list[Any]) -> bytes:
            request.rememberRootURL()
            seen.append(request.getRootURL())
            return b""

        self.called(handler, get("/x/y"))

    def test_attributes(self) -> None:
        """What is assigned is what is there, and what is not stays as it came."""

        def handler(request: Any, seen: list[Any]) -> bytes:
            request.uri = b"/other?c=3"
            request.path = b"/other"
            request.method = b"PUT"
            request.requestHeaders = Headers({b"x": [b"y"]})
            seen.extend((plain(request), asked(request)))
            return b""

        form = post(
            b"b=2",
            "Content-Type: application/x-www-form-urlencoded",
            "Cookie: a=b",
            target="/x/y?a=1",
        )
        self.called(handler, form, get("/x/y?a=1", "Cookie: a=b"))

    def test_path_before_routing(self) -> None:
        """Klein routes by the segments, which do not change with the path."""
        app = Klein()
        app.route("/<name>")(lambda request, name: name + request.path.decode())
        klein = klein_resource(app)

        def handler(request: Any, seen: list[Any]) -> Any:
            request.path = request.uri = b"/other"
            return klein.render(request)

        (answer,) = self.called(handler, get("/x"))
        self.assertEqual(answer.body, b"x/other")

    def test_each_may_be_assigned(self) -> None:
        """Before it was looked at, and deleted after."""

        def handler(request: Any, seen: list[Any]) -> bytes:
            for name in ("args", "client", "content", "host", "postpath", "prepath"):
                setattr(request, name, [name])
                seen.append(getattr(request, name))
            request.content = request.content and open("/dev/null", "rb")  # noqa: SIM115, PTH123
            return b""

        self.called(handler, get("/x"))
