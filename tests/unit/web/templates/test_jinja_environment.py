"""Jinja2's environment of a folder: what is escaped, and what names mean."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from jinja2 import Environment, Undefined, UndefinedError
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.web.templates.jinja_environment import (
    FastEnvironment,
    is_markup,
    is_template,
)


class Item:
    """A value with attributes and items."""

    both = "attribute"
    Class = "class"

    def __getitem__(self, name: str) -> str:
        if name == "missing":
            raise KeyError(name)
        return f"item {name}"


class Renamed(dict[str, object]):
    """A dict with an attribute of its own."""

    own = "attribute"


class NameTests(SynchronousTestCase):
    """What the name of a template says."""

    def test_markup(self) -> None:
        for name in (
            *("a.html", "a.htm", "a.xhtml", "a/b.xml", "a.svg", "A.HTML"),
            *("a.html.j2", "a.xml.jinja", "a.HTML.Jinja2"),
            *("a.j2", "a", None),
        ):
            self.assertTrue(is_markup(name), name)

    def test_text(self) -> None:
        for name in ("a.txt", "a.html.txt", "a.txt.j2", "a.css", "a.js.jinja2"):
            self.assertFalse(is_markup(name), name)

    def test_templates(self) -> None:
        for name in ("a.html", "a.txt", "a.svg", "a.j2", "a.css.j2", "A.HTML"):
            self.assertTrue(is_template(name), name)
        for name in ("a.png", "a.css", "a", "html", "a.html~"):
            self.assertFalse(is_template(name), name)


class LookupTests(SynchronousTestCase):
    """``{{ a.b }}`` means what it does in Jinja2."""

    fast = FastEnvironment()
    stock = Environment(autoescape=True)

    def assert_same(self, value: Any, name: str) -> None:
        ours, theirs = self.fast.getattr(value, name), self.stock.getattr(value, name)
        if isinstance(theirs, Undefined):
            self.assertIs(type(ours), Undefined)
            for each in (ours, theirs):
                self.assertRaises(UndefinedError, lambda each=each: each + 1)
        else:
            self.assertEqual(ours, theirs)

    @given(
        st.dictionaries(st.sampled_from(["a", "keys", "__len__", ""]), st.integers()),
        st.sampled_from(["a", "b", "keys", "items", "__len__", "__class__", ""]),
    )
    def test_dicts(self, value: dict[str, int], name: str) -> None:
        if name in {"keys", "items", "__len__"}:
            self.assertEqual(self.fast.getattr(value, name).__self__, value)
        else:
            self.assert_same(value, name)

    def test_other_values(self) -> None:
        for value in (Item(), Renamed(own=1, a=2), [1], "text", None, 3):
            for name in ("both", "own", "a", "missing", "Class"):
                self.assert_same(value, name)

    def test_errors_of_properties_are_not_hidden(self) -> None:
        class Broken:
            @property
            def name(self) -> str:
                raise ZeroDivisionError

        self.assertRaises(ZeroDivisionError, self.fast.getattr, Broken(), "name")
