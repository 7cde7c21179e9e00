"""The page that shows an error to the developers of the application."""

from collections.abc import Callable
from pathlib import Path

from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.web.pages.failure_page import failure_page
from clusterapp.web.templates.templates import Templates


class FailurePageTests(SynchronousTestCase):
    """What stands in it."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.templates = Templates(self.folder)

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, "utf-8")

    def page(self, fail: Callable[[], object], folder: Path | None = None) -> str:
        """Return the page for what ``fail`` raises, as it comes out of a Deferred."""
        try:
            fail()
        except Exception:  # noqa: BLE001 - that is what is tested
            failure = Failure()
        failure.cleanFailure()
        return failure_page(failure, folder or self.folder).decode("utf-8")

    def rendered(self, name: str, **values: object) -> str:
        return self.page(lambda: self.templates.render(name, values))

    def here(self, number: int, text: str) -> str:
        """Write how the line that failed is shown."""
        return f'<li value="{number}" class="here">{text}</li>'

    def test_undefined(self) -> None:
        """The innermost template counts, here that of a block."""
        self.write("base.html", "{% block b %}{% endblock %}")
        self.write(
            "page.html",
            "{% extends 'base.html' %}\n{% block b %}\n<p>{{ x.y.z }}\n{% endblock %}",
        )
        page = self.rendered("page.html", x={})
        self.assertIn("<h2>page.html, line 3</h2>", page)
        self.assertIn(self.here(3, "&lt;p&gt;{{ x.y.z }}"), page)
        self.assertIn('<li value="2">{% block b %}</li>', page)
        self.assertIn("<title>UndefinedError: ", page)
        self.assertIn("line 3, in block &#39;b&#39;", page)

    def test_syntax(self) -> None:
        self.write("page.html", "fine\n{% if %}")
        page = self.rendered("page.html")
        self.assertIn("<h2>page.html, line 2</h2>", page)
        self.assertIn(self.here(2, "{% if %}"), page)

    def test_missing_include(self) -> None:
        """It is the line of the include that is to be mended."""
        self.write("page.html", "\n{% include 'none.html' %}")
        self.assertIn("<h2>page.html, line 2</h2>", self.rendered("page.html"))

    def test_missing_template(self) -> None:
        page = self.rendered("none.html")
        self.assertIn("<span>TemplateNotFound</span> &#39;none.html&#39; not", page)
        self.assertNotIn("<ol>", page)

    def test_causes(self) -> None:
        """What an error was raised from is shown, too."""

        def fail() -> None:
            raise RuntimeError("cannot ship") from KeyError("stock")

        page = self.page(fail)
        self.assertIn("KeyError: &#39;stock&#39;\n\nThe above exception was", page)
        self.assertIn("RuntimeError: cannot ship\n</pre>", page)

    def test_error_in_a_function(self) -> None:
        """The template that called it is shown, and the traceback goes on."""
        self.write("page.html", "{{ broken() }}")
        page = self.rendered("page.html", broken=lambda: 1 // 0)
        self.assertIn("<h2>page.html, line 1</h2>", page)
        self.assertIn("<span>ZeroDivisionError</span>", page)
        self.assertIn(Path(__file__).name, page)

    def test_error_elsewhere(self) -> None:
        page = self.page(lambda: int("x"))
        self.assertIn("<span>ValueError</span> invalid literal", page)
        self.assertNotIn("<ol>", page)

    def test_application_without_templates(self) -> None:
        failure = Failure(ValueError("no"))
        self.assertIn(b"<span>ValueError</span> no", failure_page(failure, None))

    def test_lines_around(self) -> None:
        """Five before and five after, as far as there are any."""
        self.write("page.html", "\n" * 9 + "{{ x.y.z }}" + "\n" * 20)
        page = self.rendered("page.html", x={})
        self.assertEqual(page.count("<li "), 11)
        self.assertIn('<li value="5"></li>', page)

    def test_values_are_escaped(self) -> None:
        def fail() -> None:
            raise ValueError("<script>alert(1)</script>")

        self.write("page.html", "{{ f() }}<script>")
        page = self.page(lambda: self.templates.render("page.html", {"f": fail}))
        self.assertNotIn("<script>", page)
        self.assertIn("&lt;script&gt;alert(1)", page)

    def test_what_is_no_text(self) -> None:
        """Neither a message that cannot be written nor such a template fails."""

        def fail() -> None:
            raise ValueError("\udcff")

        self.assertIn("\\udcff", self.page(fail))

    def test_template_that_is_gone(self) -> None:
        """Somebody edits while the page is made."""
        self.write("page.html", "{{ f() }}")

        def fail() -> None:
            (self.folder / "page.html").unlink()
            raise ValueError

        page = self.page(lambda: self.templates.render("page.html", {"f": fail}))
        self.assertIn("<h2>page.html, line 1</h2>", page)

    def test_lines_are_those_of_now(self) -> None:
        """The traceback does not show what stood there before an edit."""
        self.templates.watch()
        self.write("page.html", "{{ x.y.first }}")
        self.rendered("page.html", x={})
        self.write("page.html", "{{ x.y.second.third }}")
        page = self.rendered("page.html", x={})
        self.assertEqual(page.count("x.y.second.third"), 2)
        self.assertNotIn("first", page.partition("<pre>")[2])

    def test_no_script_and_nothing_from_elsewhere(self) -> None:
        page = self.page(lambda: int("x"))
        for word in ("<script", "src=", "href=", "url("):
            self.assertNotIn(word, page)
