"""
Twisted's own resources on twisted.web's site and on the engine's: they answer alike.

The `wsgi.url_scheme` and all else that a WSGI application is told is the same, but for
the file that its input is read from.
"""

import os
import tempfile
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from twisted.web.pages import errorPage, forbidden, notFound
from twisted.web.resource import Resource
from twisted.web.util import ParentRedirect, Redirect
from twisted.web.wsgi import WSGIResource

from tests.unit.http.side_by_side import SideBySideTestCase, get, post

with warnings.catch_warnings():
    # It makes pages when it is imported, of a kind that Twisted has deprecated.
    warnings.simplefilter("ignore", DeprecationWarning)
    from twisted.web.static import Data, File


class Threads:
    """A thread pool, and a reactor, that do everything at once."""

    def callInThread(self, call: Callable[..., Any], *args: Any) -> None:
        call(*args)

    def callFromThread(self, call: Callable[..., Any], *args: Any) -> None:
        call(*args)


class PlainResourceTests(SideBySideTestCase):
    """Pages, data and redirects."""

    def test_pages(self) -> None:
        for page in (notFound(), forbidden("<no>"), errorPage(503, "Busy", "later")):
            self.answers(lambda _, page=page: page, get(), get(method="HEAD"))  # type: ignore[misc]

    def test_data(self) -> None:
        self.answers(
            lambda _: Data(b"data", "text/css"),
            get(),
            get(method="HEAD"),
            get(method="POST"),
        )

    def test_redirects(self) -> None:
        def root(seen: list[Any]) -> Resource:
            made = Resource()
            made.putChild(b"there", Redirect(b"http://there/"))
            made.putChild(b"up", ParentRedirect())
            return made

        self.answers(root, get("/there"), get("/up"), get("/there", method="HEAD"))


class FileTests(SideBySideTestCase):
    """`static.File`: pull producers, conditions and ranges."""

    def setUp(self) -> None:
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        (self.folder / "small.txt").write_bytes(b"0123456789")
        (self.folder / "big.bin").write_bytes(b"0123456789" * 20_000)
        (self.folder / "empty.css").write_bytes(b"")
        (self.folder / "page.html.gz").write_bytes(b"zipped")
        (self.folder / "sub").mkdir()
        (self.folder / "sub" / "index.html").write_bytes(b"index")
        for path in self.folder.rglob("*"):
            # twisted.web says that a file of this second is from the next one.
            os.utime(path, (1000, 1000))

    def test_answers(self) -> None:
        """Whole, in parts, not at all, or by redirects."""
        paths = ("small.txt", "big.bin", "empty.css", "page.html.gz", "none", "sub")
        lines: tuple[tuple[str, ...], ...] = (
            (),
            ("Range: bytes=2-4",),
            ("Range: bytes=5-",),
            ("Range: bytes=99999999-",),
            ("If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT",),
        )
        self.answers(
            lambda _: File(str(self.folder)),
            *(
                get(f"/{path}", *more, method=method)
                for path in (*paths, "sub/", "", "%2e%2e/x", "sub/../small.txt")
                for more in lines
                for method in ("GET", "HEAD")
            ),
            get("/small.txt", method="POST"),
        )


class WSGITests(SideBySideTestCase):
    """A WSGI application, in one thread."""

    def answered(self, app: Any, *raws: bytes) -> Any:
        threads = Threads()

        def root(seen: list[Any]) -> Resource:
            made = Resource()

            def noting(environ: dict[str, Any], start: Any) -> Any:
                seen.append({k: v for k, v in environ.items() if _is_text(v)})
                seen.append(environ["wsgi.input"].read())
                return app(environ, start)

            resource: Any = WSGIResource(threads, threads, noting)
            made.putChild(b"app", resource)
            return made

        return self.answers(root, *raws)

    def test_environment(self) -> None:
        """It is told the same of every request, and answers the same."""

        def app(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
            start("201 Made", [("X-A", "1"), ("x-a", "2"), ("Content-Type", "a/b")])
            return [b"some", b"", b"thing"]

        (answer, *_) = self.answered(
            app,
            get("/app/a%20b//c?d=e"),
            get("/app", method="HEAD"),
            post(b"x=y", "Content-Type: a/b", "X-One: 1", "x-one: 2", target="/app/"),
        )
        self.assertEqual(answer.status, b"201 Made")
        self.assertEqual(answer.field(b"x-a"), [b"1", b"2"])

    def test_written(self) -> None:
        """By `start_response`'s own `write`."""

        def app(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
            write = start("200 OK", [("Content-Length", "8")])
            write(b"some")
            return [b"more"]

        (answer,) = self.answered(app, get("/app"))
        self.assertEqual(answer.length, b"8")


def _is_text(value: object) -> bool:
    return isinstance(value, str | bool | tuple)
