"""What a WSGI application is told of a request's fields."""

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.http.site import ClusterSite
from clusterapp.web.clients.trusted_proxies import TrustedProxies
from clusterapp.web.wsgi.wsgi_resource import WSGIRoot
from tests.unit.http.clients import Client
from tests.unit.http.connection.test_request_timeout import Threads


class PooledThreads(Threads):
    """Threads that are their own pool."""

    def getThreadPool(self) -> Any:
        """Return them."""
        return self


class EnvironmentTests(SynchronousTestCase):
    """The environment."""

    def environ(self, lines: bytes) -> dict[str, Any]:
        self.ask(b"/", lines)
        return self.told[0]

    def ask(self, target: bytes, lines: bytes = b"") -> bytes:
        """Send a request; return the response."""
        self.told: list[dict[str, Any]] = []

        def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            self.told.append({**environ, "body": environ["wsgi.input"].read()})
            start_response("200 OK", [])
            return []

        threads: Any = PooledThreads()
        clock = Clock()
        proxies = TrustedProxies(["*"])
        site = ClusterSite(clock, WSGIRoot(threads, application), proxies=proxies)
        client = Client(site, clock)
        client.send(b"GET %b HTTP/1.1\r\nHost: h\r\n%b\r\n" % (target, lines))
        for call in threads.waiting:
            call()
        client.goes()
        return bytes(client.transport.value())

    def test_underscores(self) -> None:
        """A field with an underscore takes no other's place, before it or behind."""
        for lines in (
            b"X-Forwarded-Proto: http\r\nX_Forwarded_Proto: https\r\n",
            b"X_Forwarded-Proto: https\r\nX-Forwarded-Proto: http\r\n",
        ):
            environ = self.environ(lines + b"Content_Length: 9\r\nX_User: root\r\n")
            self.assertEqual(environ["HTTP_X_FORWARDED_PROTO"], "http")
            self.assertEqual(environ["wsgi.url_scheme"], "http")
            self.assertNotIn("HTTP_X_USER", environ)
            self.assertNotIn("HTTP_CONTENT_LENGTH", environ)

    def test_chunked_body(self) -> None:
        """It has been gathered, so applications are told its length, and read it."""
        lines = b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"
        environ = self.environ(lines)
        self.assertEqual(environ["CONTENT_LENGTH"], "5")
        self.assertNotIn("HTTP_TRANSFER_ENCODING", environ)
        self.assertEqual(environ["body"], b"hello")

    def test_fields_of_the_body(self) -> None:
        """They have names of their own, and no others (RFC 3875, section 4.1.18)."""
        lines = (
            b"Content-Length: 5\r\nContent-Type: a/b\r\nX-Content-Type: c\r\n\r\nhello"
        )
        environ = self.environ(lines)
        self.assertEqual(environ["CONTENT_LENGTH"], "5")
        self.assertEqual(environ["CONTENT_TYPE"], "a/b")
        names = {name for name in environ if name.startswith("HTTP_")}
        self.assertEqual(names, {"HTTP_HOST", "HTTP_X_CONTENT_TYPE"})

    def test_nul_in_a_path(self) -> None:
        """No application is asked: what it passes to the system would be cut there."""
        for target in (b"/%00", b"/a%00b", b"/a/b%00/c", b"/%00?a"):
            self.assertIn(b"404 Not Found", self.ask(target))
            self.assertEqual(self.told, [])
        self.assertIn(b"200 OK", self.ask(b"/a?b=%00"))

    def test_other_processes(self) -> None:
        """Threads and other workers may call the application at the same time."""
        environ = self.environ(b"")
        self.assertIs(environ["wsgi.multithread"], True)
        self.assertIs(environ["wsgi.multiprocess"], True)
        self.assertIs(environ["wsgi.run_once"], False)

    def test_cookies(self) -> None:
        """Several Cookie fields are one list of cookies; other fields have commas."""
        lines = b"Cookie: a=1; b=2\r\nCookie: c=3\r\nAccept: x\r\nAccept: y\r\n"
        environ = self.environ(lines)
        self.assertEqual(environ["HTTP_COOKIE"], "a=1; b=2; c=3")
        self.assertEqual(environ["HTTP_ACCEPT"], "x,y")

    def test_httpoxy(self) -> None:
        """No client can name the proxy that libraries take from HTTP_PROXY."""
        for name in (b"Proxy", b"PROXY"):
            environ = self.environ(name + b": http://evil.example\r\n")
            self.assertNotIn("HTTP_PROXY", environ)
            self.assertEqual(environ["HTTP_HOST"], "h")
