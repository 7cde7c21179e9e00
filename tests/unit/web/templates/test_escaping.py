"""Pages are those that Jinja2 makes, however values are escaped."""

from decimal import Decimal
from typing import Any

import markupsafe
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import DictLoader, Environment, StrictUndefined, UndefinedError
from jinja2.compiler import CodeGenerator
from markupsafe import Markup
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.private_names import check
from clusterapp.private_names.web import CODE_GENERATOR
from clusterapp.web.templates.escaping import escape, plain_output
from clusterapp.web.templates.jinja_environment import FastEnvironment
from tests.unit.fakes import Log


class Tagged:
    """A value that says itself how it looks in a page."""

    def __html__(self) -> str:
        return "<i>&</i>"


class Loud(str):
    """A text of another type."""

    __slots__ = ()

    def __str__(self) -> str:
        return self.upper()


class Score(int):
    """A number whose text is not one."""

    def __str__(self) -> str:
        return "<1>"


VALUES = (
    st.text()
    | st.text("<>&\"'a")
    | st.text().map(Markup)
    | st.integers()
    | st.floats()
    | st.booleans()
    | st.none()
    | st.decimals().map(Decimal)
    | st.lists(st.text("<'"))
    | st.sampled_from([Tagged(), Loud("<a>"), Score(1), b"<", {"<": "&"}])
)

#: Each way in which what is written comes into a page, or back into an expression.
TEMPLATES = {
    "base.html": "<{% block b %}{{ v }}{% endblock %}{{ self.b() }}>",
    "plain.html": "{{ v }}|{{ v ~ '<' }}|{{ v | string | length }}|{{ '<' }}",
    "page.html": "{% extends 'base.html' %}"
    "{% block b %}{{ super() }}{{ v }}{% endblock %}",
    "macro.html": "{% macro m(x) %}[{{ x }}{{ caller() if caller }}]{% endmacro %}"
    "{{ m(v) }}{{ m(m(v)) }}{% call m(v) %}{{ v }}{% endcall %}{{ m(v) | escape }}",
    "set.html": "{% set x %}{{ v }}{% endset %}"
    "{{ x }}{{ x ~ v }}{{ [x, v] | join('<') }}",
    "filter.html": "{% filter upper %}<{{ v }}{% endfilter %}{{ v | string | safe }}"
    "{{ v | string | replace('<', '>') }}{{ v | e }}{{ v | forceescape }}",
    "include.html": "{% include 'plain.html' %}"
    "{% import 'macro.html' as q with context %}"
    "{{ q.m(v) }}{{ q }}",
    "off.html": "{% autoescape false %}{{ v }}{% endautoescape %}{{ v }}"
    "{% autoescape on %}{{ v }}{{ v ~ '<' }}{% endautoescape %}",
    "loop.html": "{% for x in [v, v] recursive %}{{ x }}{{ loop.index }}{% endfor %}",
}


def environment(kind: type[Environment], **others: Any) -> Environment:
    """Make an environment of one kind with all the templates."""
    return kind(loader=DictLoader(TEMPLATES), autoescape=True, **others)


class EscapeTests(SynchronousTestCase):
    """The function by itself."""

    @given(VALUES)
    def test_same_text(self, value: object) -> None:
        self.assertEqual(escape(value), str(markupsafe.escape(value)))


class GeneratorTests(SynchronousTestCase):
    """
    The hook into Jinja2's compiler, which is not public.

    If `test_templates_use_ours` fails, a new Jinja2 writes the code of templates in
    another way; pages are right, but slower. Look at what
    ``Environment(autoescape=True).compile("{{ a }}", raw=True)`` returns: values must
    be passed to a function that `plain_output` can rebind in the template's module.
    Adapt it, and the check of `CODE_GENERATOR` in clusterapp/private_names/web.py. Then
    measure a table of 100 rows with other values in each rendering, both generators in
    turn in one process: the hook was kept because the page takes 1.75 times as long
    without it. Below 1.3 times, remove the module, and ``code_generator_class`` from
    `FastEnvironment`.
    """

    def test_templates_use_ours(self) -> None:
        template = FastEnvironment(autoescape=True).from_string("{{ a }}")
        used = template.root_render_func.__globals__["escape"]
        self.assertIs(used, escape, GeneratorTests.__doc__)

    def test_changed_compiler(self) -> None:
        """Templates are compiled by Jinja2's own then, and one warning is logged."""
        log = Log(self)
        for name in ("visit_Template", "writeline"):
            self.patch(check, "_warned", set())
            broken = type("Changed", (CodeGenerator,), {name: lambda *_: None})
            self.patch(CODE_GENERATOR, "value", broken)
            self.assertIsNone(plain_output())
        self.patch(CODE_GENERATOR, "value", None)
        self.assertIsNone(plain_output())
        self.assertEqual(len(log.events), 2)


class PageTests(SynchronousTestCase):
    """Whole pages, against Jinja2's own environment."""

    ours = environment(FastEnvironment)
    theirs = environment(Environment)

    @given(VALUES, st.sampled_from(sorted(TEMPLATES)), st.booleans())
    def test_same_page(self, value: object, name: str, on: bool) -> None:
        """Nothing is escaped twice, and nothing is left out."""
        page = self.ours.get_template(name).render(v=value, on=on)
        self.assertEqual(page, self.theirs.get_template(name).render(v=value, on=on))

    def test_missing_values(self) -> None:
        for name in TEMPLATES:
            self.assertEqual(
                self.ours.get_template(name).render(),
                self.theirs.get_template(name).render(),
            )
        strict = environment(FastEnvironment, undefined=StrictUndefined)
        template = strict.get_template("plain.html")
        self.assertRaises(UndefinedError, template.render)

    def test_module(self) -> None:
        """What a template exports is markup, as ever."""
        module: Any = self.ours.get_template("macro.html").make_module({"v": "<"})
        self.assertEqual(module.m("<"), Markup("[&lt;]"))
        self.assertIs(type(module.m("<")), Markup)
