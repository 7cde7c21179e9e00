"""The templates of exports: whatever they write has been quoted by a filter."""

from collections.abc import Iterator
from pathlib import Path

from jinja2 import Environment, UndefinedError, nodes
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.control import exports
from clusterapp.control.exports.quoting import FILTERS
from clusterapp.control.exports.template_environment import environment

TEMPLATES = Path(exports.__file__).with_name("templates")


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
