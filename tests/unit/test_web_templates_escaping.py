"""Pages are those that Jinja2 makes, however values are escaped."""

from decimal import Decimal
from typing import Any

import markupsafe
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import DictLoader, Environment, StrictUndefined, UndefinedError
from markupsafe import Markup
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.web.templates.escaping import escape
from clusterapp.web.templates.jinja_environment import FastEnvironment


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
