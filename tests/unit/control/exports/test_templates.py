"""The templates of exports: whatever they write has been quoted by a filter."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import Environment, UndefinedError, nodes
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.control import exports
from clusterapp.control.exports import quoting
from clusterapp.control.exports.quoting import FILTERS, Quoted
from clusterapp.control.exports.template_environment import environment
from clusterapp.errors import ExportError

TEMPLATES = Path(exports.__file__).with_name("templates")

#: Whole texts, most of them of characters with a meaning in one of the formats.
TEXTS = st.text() | st.text(
    "aé日😀 \"'\\$%#;{}()[],:&*!|>@`~^/.-=+?<\n\r\t\0\x85\u2028"
)


def unquoted(made: Environment, template: str, source: str) -> Iterator[str]:
    """
    Yield each expression that a template writes and none of its own filters quotes.

    A variable may be written as it is where every ``set`` of it ends in such a filter.
    """
    parsed = made.parse(source)

    def is_quoted(node: nodes.Node) -> bool:
        return isinstance(node, nodes.Filter) and node.name in FILTERS[template]

    sets = parsed.find_all(nodes.Assign)
    quoted = {id(each.target) for each in sets if is_quoted(each.node)}
    stored = [each for each in parsed.find_all(nodes.Name) if each.ctx == "store"]
    names = {each.name for each in stored if id(each) in quoted}
    names -= {each.name for each in stored if id(each) not in quoted}
    for node in (node for each in parsed.find_all(nodes.Output) for node in each.nodes):
        is_name = isinstance(node, nodes.Name) and node.name in names
        if not (isinstance(node, nodes.TemplateData) or is_quoted(node) or is_name):
            yield f"{template}:{node.lineno}: {node}"


class TemplateTests(SynchronousTestCase):
    """All templates."""

    def test_each_has_filters(self) -> None:
        self.assertEqual({path.name for path in TEMPLATES.iterdir()}, set(FILTERS))

    def test_everything_is_quoted(self) -> None:
        """No template writes a value without a filter of its format."""
        for name in FILTERS:
            source = (TEMPLATES / name).read_text("utf-8")
            self.assertEqual(list(unquoted(environment(name), name, source)), [])

    def test_what_is_not_quoted_is_found(self) -> None:
        """Any other expression fails this test, and fails when it is rendered."""
        for name in FILTERS:
            made = environment(name)
            for source in (
                "{{ text }}",
                "{{ 'text' }}",
                "{{ text | upper }}",
                "{{ text | comment | upper }}",
                "{{ [text | comment] | join }}",
                "{{ text if text else text | comment }}",
                "{% set a = text %}{{ a }}",
                "{% set a, b = text | comment, text %}{{ b }}",
                "{% set a = text | comment %}{% set a = text %}{{ a }}",
                "{% set a %}{{ text | comment }}{% endset %}{{ a }}",
                "{% for a in [text] %}{{ a }}{% endfor %}",
                "{% for comment in [text] %}{{ comment }}{% endfor %}",
                "{% set a = 1 | integer %}{% for a in [text] %}{{ a }}{% endfor %}",
            ):
                found = list(unquoted(made, name, source))
                self.assertEqual(len(found), 1, source)
                with self.assertRaisesRegex(
                    TypeError, "no filter has quoted 'TEXT'|'t"
                ):
                    made.from_string(source).render(text="text")
            good = "{% set a = text | comment %}{{ a }}{{ 1 | integer }}"
            self.assertEqual(list(unquoted(made, name, good)), [])
            self.assertEqual(made.from_string(good).render(text="text"), "text1")

    def test_undefined(self) -> None:
        """A name that is not known is an error, wherever it stands."""
        for source in (
            "{{ a | comment }}",
            "{% if a %}{% endif %}",
            "{{ b.a | bare }}",
        ):
            template = environment("nginx.conf.j2").from_string(source)
            self.assertRaises(UndefinedError, template.render, b="")


class FilterTests(SynchronousTestCase):
    """Filters: what they write is read as the value again, or they refuse it."""

    def assert_read(
        self, quote: Callable[[str], Quoted], read: Callable[[str], str], text: str
    ) -> None:
        try:
            quoted = quote(text)
        except ExportError as error:
            self.assertRegex(str(error), "cannot")
            return
        self.assertTrue(quoted.isprintable())
        self.assertEqual(read(quoted), text)

    @given(TEXTS)
    def test_lines(self, text: str) -> None:
        """No filter of a string lets a line end."""
        for filters in FILTERS.values():
            for name, quote in filters.items():
                if name in {"integer", "duration"}:
                    continue
                value = [text] if name == "words" else text
                try:
                    quoted = quote(value)
                except ExportError:
                    continue
                self.assertIsInstance(quoted, Quoted)
                self.assertTrue(quoted.isprintable(), (name, text))

    @given(TEXTS)
    def test_nginx(self, text: str) -> None:
        """As ngx_conf_read_token() reads an argument."""
        self.assert_read(quoting.double_quoted, read_nginx, text)
        self.assert_read(quoting.nginx_without_variables, read_nginx, text)
        if "$" in text:
            self.assertRaises(ExportError, quoting.nginx_without_variables, text)

    @given(TEXTS)
    def test_haproxy(self, text: str) -> None:
        self.assert_read(quoting.haproxy_string, read_haproxy, text)

        def hashed(quoted: str) -> str:
            found = read_haproxy(quoted)
            assert found.startswith("hdr(")
            return found[4:-1]

        self.assert_read(quoting.haproxy_hash_of_header, hashed, text)

    @given(TEXTS)
    def test_systemd(self, text: str) -> None:
        self.assert_read(quoting.unit_value, read_value, text)
        self.assert_read(quoting.unit_path, read_word, text)
        self.assert_read(quoting.unit_program, read_word, text)

        def argument(quoted: str) -> str:
            found = read_word(quoted)
            self.assertNotIn("$", found.replace("$$", ""))
            return found.replace("$$", "$")

        self.assert_read(lambda each: quoting.unit_words([each]), argument, text)

    def test_several_words(self) -> None:
        words = quoting.unit_words(["--a", "b c", "", ";", "x;y"])
        self.assertEqual(words, '--a "b c" "" ";" "x;y"')

    @given(TEXTS)
    def test_yaml(self, text: str) -> None:
        self.assert_read(quoting.yaml_string, yaml.safe_load, text)
        self.assert_read(quoting.yaml_name, yaml.safe_load, text)
        self.assert_read(quoting.compose_string, read_compose, text)
        self.assert_read(quoting.kubernetes_argument, read_kubernetes, text)

    def test_names_that_are_no_strings(self) -> None:
        for text in ("on", "y", "null", "1", "1e5", "0x1", "true", "Off", "~", "_1"):
            self.assertEqual(yaml.safe_load(quoting.yaml_name(text)), text)
        self.assertEqual(quoting.yaml_name("onward"), "onward")

    def test_bare(self) -> None:
        """Without quotes there is nothing that a format could read as syntax."""
        for text in ("a-b_c", "/a/b.c~", "127.0.0.1:80", "[::1]:80"):
            self.assertEqual(quoting.bare(text), text)
        for text in ("", "a b", "a;", "a{", "a$b", "a%b", "a#b", "a\n", "é", "a'b"):
            self.assertRaises(ExportError, quoting.bare, text)

    def test_integer(self) -> None:
        self.assertEqual([quoting.integer(5), quoting.integer(2.9)], ["5", "2"])
        self.assertRaises(ValueError, quoting.integer, "5;")


def read_nginx(quoted: str) -> str:
    """Read an argument in double quotes."""
    inside = re.fullmatch(r'"((?:[^"\\]|\\.)*)"', quoted)
    assert inside is not None
    return re.sub(r"""\\(["'\\])""", r"\1", inside[1])


def read_haproxy(quoted: str) -> str:
    """Read an argument, in single quotes or without (Configuration, section 2.2)."""
    if not quoted.startswith("'"):
        assert not re.search(r"""[\s#"'\\]""", quoted)
        return quoted
    inside = re.fullmatch("'([^']*)'", quoted)
    assert inside is not None
    return inside[1]


def read_value(quoted: str) -> str:
    """Read to the end of a line, of which white space is cut off (systemd.syntax)."""
    assert not quoted.endswith("\\")
    assert "%" not in quoted.replace("%%", "")
    return quoted.replace("%%", "%").strip()


def read_word(quoted: str) -> str:
    """Read one word, quoted or not."""
    inside = re.fullmatch(r'"((?:[^"\\]|\\["\\])*)"|[^\s"\'\\;]+', quoted)
    assert inside is not None, quoted
    text = quoted if inside[1] is None else re.sub(r'\\(["\\])', r"\1", inside[1])
    assert "%" not in text.replace("%%", "")
    return text.replace("%%", "%")


def read_compose(quoted: str) -> str:
    """Read a string as compose does, which knows no variable."""
    text: str = yaml.safe_load(quoted)
    assert "$" not in text.replace("$$", "")
    return text.replace("$$", "$")


def read_kubernetes(quoted: str) -> str:
    """As expansion.Expand() of Kubernetes does it, which knows no variable."""
    text: str = yaml.safe_load(quoted)
    assert "$(" not in text.replace("$$", "")
    return text.replace("$$", "$")
