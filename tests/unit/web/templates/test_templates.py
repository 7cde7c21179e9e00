"""Templates: how they are read, shared and compiled ahead."""

import os
from pathlib import Path

from jinja2 import DictLoader, FunctionLoader, TemplateNotFound
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.web.templates.templates import WARM_SECONDS, Templates
from tests.unit.fakes import Log


class TemplatesCase(SynchronousTestCase):
    """A folder of templates that a test fills."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.cache = Path(self.mktemp()).absolute()
        self.cache.mkdir(mode=0o700)
        self.templates = Templates(self.folder)
        self.log = Log(self)

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        return path

    def render(self, template: str, **values: object) -> str:
        return self.templates.render(template, values)

    def another(self) -> Templates:
        """Return the same templates as another process has them."""
        other = Templates(self.folder)
        other.share(self.cache)
        return other

    def kept(self) -> dict[str, tuple[int, int]]:
        """Return which file of the cache is there since when."""
        return {
            path.name: (path.stat().st_ino, path.stat().st_mtime_ns)
            for path in self.cache.iterdir()
        }


class ReadingTests(TemplatesCase):
    """When the file of a template is looked at."""

    def test_never_again(self) -> None:
        """Once a template is compiled, its file is not even asked for its time."""
        self.write("base.html", "{% block b %}{% endblock %}")
        self.write("page.html", "{% extends 'base.html' %}{% block b %}1{% endblock %}")
        self.assertEqual(self.render("page.html"), "1")
        asked: list[object] = []

        def stat(path: object, **_: object) -> None:
            asked.append(path)
            raise OSError

        self.patch(os, "stat", stat)
        self.assertEqual(self.render("page.html"), "1")
        self.assertEqual(asked, [])

    def test_edits_show_when_watched(self) -> None:
        """In the template itself, and in what it includes."""
        self.write("page.html", "a {% include 'part.html' %}")
        part = self.write("part.html", "old")
        self.templates.watch()
        self.assertEqual(self.render("page.html"), "a old")
        part.write_text("new")
        os.utime(part, (1, 1))
        self.assertEqual(self.render("page.html"), "a new")

    def test_more_templates_than_jinja_keeps(self) -> None:
        """None is compiled twice, however many there are."""
        names = [f"{n}.html" for n in range(450)]
        for name in names:
            self.write(name, name)
        self.templates.warm(Clock().seconds)
        first = [self.templates.environment.get_template(name) for name in names]
        again = [self.templates.environment.get_template(name) for name in names]
        self.assertTrue(all(a is b for a, b in zip(first, again, strict=True)))

    def test_each_has_one_name(self) -> None:
        """Or clients could fill the memory with spellings of one."""
        self.write("a/b.html", "text")
        for name in ("a//b.html", "./a/b.html", "/a/b.html", "a/./b.html"):
            error = self.assertRaises(TemplateNotFound, self.render, name)
            self.assertIn("it is 'a/b.html'", str(error))
        self.assertEqual(self.render("a/b.html"), "text")


class GlobalsTests(TemplatesCase):
    """What every template may name."""

    def test_before_the_first_template(self) -> None:
        self.write("page.html", "{{ shop }}{{ range(3) | length }}")
        self.templates.globals["shop"] = "<S>"
        self.assertEqual(self.render("page.html"), "&lt;S&gt;3")

    def test_after_it(self) -> None:
        """Templates that are compiled already see them, too."""
        self.write("page.html", "{{ shop }}")
        self.assertEqual(self.render("page.html"), "")
        self.templates.globals["shop"] = "S"
        self.assertEqual(self.render("page.html"), "S")

    def test_values_come_first(self) -> None:
        self.write("page.html", "{{ shop }}")
        self.templates.globals["shop"] = "global"
        self.assertEqual(self.render("page.html", shop="local"), "local")

    def test_in_macros_and_includes(self) -> None:
        self.write("macros.html", "{% macro m() %}{{ shop }}{% endmacro %}")
        self.write("part.html", "{{ shop }}{{ x }}")
        self.write(
            "page.html",
            "{% from 'macros.html' import m %}{{ m() }}"
            "{% set x = 1 %}{% include 'part.html' %}",
        )
        self.templates.globals["shop"] = "S"
        self.assertEqual(self.render("page.html"), "SS1")

    def test_of_one_template(self) -> None:
        """Jinja2's own way to give a template globals leaves the others alone."""
        self.write("page.html", "{{ shop }}")
        self.write("other.html", "{{ shop }}")
        environment = self.templates.environment
        page = environment.get_template("page.html", globals={"shop": "S"})
        self.assertEqual((page.render(), self.render("other.html")), ("S", ""))


class WarmTests(TemplatesCase):
    """Compiling before the first request."""

    def test_what_is_compiled(self) -> None:
        """Files whose names say that they are templates."""
        warm = {"a.html", "sub/b.txt", "c.xml", "d.css.j2", "E.HTML", "f.html.jinja"}
        for name in (*warm, "logo.png", "app.js", "notes", "x.htmlx"):
            self.write(name, name)
        self.templates.warm(Clock().seconds)
        cache = self.templates.environment.cache
        assert cache is not None
        self.assertEqual({name for _, name in cache}, warm)

    def test_broken_template_is_told(self) -> None:
        """With its line; the others are compiled all the same."""
        broken = self.write("a.html", "fine\n{% if %}")
        (self.folder / "b.html").write_bytes(b"\xff\xfe")
        self.write("c.html", "text")
        self.templates.share(self.cache)
        self.templates.warm(Clock().seconds)
        self.assertIn(
            f"cannot compile the template {broken}, line 2: ", self.log.text()
        )
        self.assertIn(f"{self.folder / 'b.html'}: 'utf-8' codec", self.log.text())
        self.assertEqual(len(self.kept()), 1)

    def test_bounded_in_time(self) -> None:
        """What is left is compiled when it is used."""
        clock = Clock()

        def load(name: str) -> str:
            clock.advance(2.0)
            return name

        names = ["a.html", "b.html", "c.html", "d.html", "e.html"]
        loader = FunctionLoader(load)
        self.patch(loader, "list_templates", lambda: names)
        self.templates.environment.loader = loader
        self.templates.warm(clock.seconds)
        self.assertEqual(clock.seconds(), 6.0)
        self.assertLess(WARM_SECONDS, clock.seconds())
        self.assertIn("3 of 5 templates compiled after 5 s", self.log.text())
        self.assertEqual(self.render("e.html"), "e.html")

    def test_no_folder(self) -> None:
        self.templates.warm(Clock().seconds)
        self.assertEqual(self.log.text(), "")

    def test_loader_that_knows_no_names(self) -> None:
        """An application may take its templates from elsewhere."""
        self.templates.environment.loader = FunctionLoader(lambda name: name)
        self.templates.warm(Clock().seconds)
        self.assertEqual(self.render("x"), "x")

    def test_loader_without_files(self) -> None:
        self.templates.share(self.cache)
        self.templates.environment.loader = DictLoader({"a.html": "text"})
        self.templates.warm(Clock().seconds)
        self.assertEqual((self.render("a.html"), len(self.kept())), ("text", 1))


class SharingTests(TemplatesCase):
    """Compiled templates that several processes have in common."""

    def compile_count(self, templates: Templates) -> int:
        """Return how many templates are compiled when all are loaded."""
        compiled: list[object] = []
        environment = templates.environment
        compile_one = environment.compile

        def count(*args: object) -> object:
            compiled.append(args)
            return compile_one(*args)  # type: ignore[call-overload]

        self.patch(environment, "compile", count)
        templates.warm(Clock().seconds)
        return len(compiled)

    def test_second_process_compiles_nothing(self) -> None:
        self.write("a.html", "{{ x }}")
        self.write("b.txt", "{{ x }}")
        self.assertEqual(self.compile_count(self.another()), 2)
        kept = self.kept()
        other = self.another()
        self.assertEqual(self.compile_count(other), 0)
        self.assertEqual(other.render("a.html", {"x": "<"}), "&lt;")
        self.assertEqual(other.render("b.txt", {"x": "<"}), "<")
        self.assertEqual((self.kept(), len(kept)), (kept, 2))

    def test_edited_template_is_compiled_anew(self) -> None:
        page = self.write("a.html", "old")
        self.another().warm(Clock().seconds)
        page.write_text("new")
        self.assertEqual(self.another().render("a.html", {}), "new")

    def test_another_syntax_is_compiled_anew(self) -> None:
        """What the application sets in code counts as much as the text."""
        self.write("a.html", "{{ x }}[[ x ]]")
        self.assertEqual(self.another().render("a.html", {"x": "<"}), "&lt;[[ x ]]")
        other = self.another()
        other.environment.variable_start_string = "[["
        other.environment.variable_end_string = "]]"
        self.assertEqual(other.render("a.html", {"x": "<"}), "{{ x }}&lt;")
        plain = self.another()
        plain.environment.autoescape = False
        self.assertEqual(plain.render("a.html", {"x": "<"}), "<[[ x ]]")
        extended = self.another()
        extended.environment.add_extension("jinja2.ext.do")
        extended.warm(Clock().seconds)
        self.assertEqual(len(self.kept()), 4)

    def test_damaged_files_are_ignored(self) -> None:
        """Whatever is in them; a whole one is put in their place."""
        self.write("a.html", "text")
        self.another().warm(Clock().seconds)
        [path] = self.cache.iterdir()
        whole = path.read_bytes()
        other = whole.replace(b"text", b"TEXT")
        self.assertNotEqual(other, whole)
        for damaged in (b"", b"x", whole[:-1], whole[:32], other, b"\0" * 99):
            path.write_bytes(damaged)
            self.assertEqual(self.another().render("a.html", {}), "text")
            self.assertEqual(path.read_bytes(), whole)

    def test_folder_is_gone(self) -> None:
        """Pages are made all the same, and the log says what is wrong."""
        self.write("a.html", "text")
        other = self.another()
        self.cache.rmdir()
        self.assertEqual(other.render("a.html", {}), "text")
        self.assertIn("cannot keep a compiled template", self.log.text())

    def test_nothing_is_left_of_a_file_that_cannot_be_put_in_place(self) -> None:
        self.write("a.html", "text")

        def replace(path: Path, target: Path) -> None:
            raise OSError("no")

        self.patch(Path, "replace", replace)
        self.assertEqual(self.another().render("a.html", {}), "text")
        self.assertEqual(list(self.cache.iterdir()), [])

    def test_a_name_that_is_no_text(self) -> None:
        """Names of files may have bytes that are not UTF-8."""
        self.folder.mkdir()
        (self.folder / os.fsdecode(b"\xff.html")).write_text("text")
        self.another().warm(Clock().seconds)
        self.assertEqual(self.compile_count(self.another()), 0)
