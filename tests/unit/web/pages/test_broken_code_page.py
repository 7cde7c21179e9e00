"""The page that stands in for others while the code cannot be loaded."""

from twisted.trial.unittest import SynchronousTestCase

from clusterapp.http.server.prepared_response import Prepared
from clusterapp.web.pages.broken_code_page import BrokenCode
from tests.unit.web.static.static_files import Answer, read

BROWSER = [(b"Host", b"h"), (b"accept", b"text/html,application/xhtml+xml,*/*;q=0.8")]
TRACEBACK = """Traceback (most recent call last):
  File "shop.py", line 3, in <module>
    price = <b>
SyntaxError: invalid & syntax
"""
FILE = Prepared(200, [], [b"a file"])


class BrokenCodeTests(SynchronousTestCase):
    """What browsers get, and what other clients get."""

    def setUp(self) -> None:
        self.code = BrokenCode()
        self.answer = self.code.before(lambda *_: FILE)

    def page(self) -> Answer:
        page = self.answer(b"GET", b"/", BROWSER)
        assert page is not None
        return read(page)

    def test_well(self) -> None:
        """At first, and again when it was mended."""
        self.assertIs(self.answer(b"GET", b"/", BROWSER), FILE)
        self.code.set_error(TRACEBACK)
        self.code.set_error("")
        self.assertIs(self.answer(b"GET", b"/", BROWSER), FILE)

    def test_broken(self) -> None:
        """What is wrong is shown, and what goes on."""
        self.code.set_error(TRACEBACK)
        page = self.page()
        self.assertEqual(page.status, 500)
        self.assertEqual(page.fields[b"content-type"], b"text/html; charset=utf-8")
        self.assertEqual(page.fields[b"cache-control"], b"no-store")
        text = page.body.decode()
        self.assertIn("</span> SyntaxError: invalid &amp; syntax</h1>", text)
        self.assertIn("    price = &lt;b&gt;\n", text)
        self.assertIn("old code goes on serving all other requests", text)

    def test_other_requests(self) -> None:
        """They go on to the old code."""
        self.code.set_error(TRACEBACK)
        for accept in ((), (b"*/*",), (b"image/avif,*/*",)):
            fields = [(b"Accept", value) for value in accept]
            self.assertIs(self.answer(b"GET", b"/", fields), FILE)
        self.assertIs(self.answer(b"GET", b"/", [(b"X-Accept", b"text/html")]), FILE)
        for method in (b"POST", b"HEAD"):
            self.assertIs(self.answer(method, b"/", BROWSER), FILE)

    def test_nothing_behind(self) -> None:
        answer = self.code.before(None)
        self.assertIsNone(answer(b"GET", b"/", BROWSER))
        self.code.set_error(TRACEBACK)
        self.assertIsNone(answer(b"GET", b"/", []))

    def test_page_knows_itself(self) -> None:
        """Its script compares the mark that it holds with that of later answers."""
        self.code.set_error(TRACEBACK)
        first = self.page()
        mark = first.fields[b"clusterapp-broken"]
        self.assertIn(
            b'answer.headers.get("Clusterapp-Broken") !== "%b"' % mark, first.body
        )
        self.code.set_error("another error")
        self.assertNotEqual(self.page().fields[b"clusterapp-broken"], mark)

    def test_what_is_no_text(self) -> None:
        self.code.set_error("no \udcff")
        self.assertIn(b"no \\udcff", self.page().body)

    def test_empty_lines(self) -> None:
        """There may be nothing to show but that it is broken."""
        self.code.set_error("\n")
        self.assertEqual(self.page().status, 500)
