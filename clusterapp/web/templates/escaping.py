"""
The escaping of values in templates, without a `Markup` object for each value.

Jinja2 escapes with `markupsafe.escape`, whose result is a `Markup`, so that it is not
escaped again. A template's output is only joined, and the creation of those objects
takes a large part of the time of a page with a table: 100 rows of five values take 0.46
ms with them, and 0.26 ms without. Templates that are compiled by the generator of
`plain_output` escape with the function of this module instead; the pages are the same.

The generator hooks into Jinja2's compiler, which is not public, and nothing else does.
If it has changed, pages are rendered as by Jinja2, and
tests/unit/web/templates/test_escaping.py says what to do.
"""

import re
from typing import TYPE_CHECKING, Any

import markupsafe
from jinja2 import Environment
from markupsafe import Markup

from clusterapp.private_names.web import CODE_GENERATOR

if TYPE_CHECKING:
    from jinja2.compiler import CodeGenerator

#: The characters that MarkupSafe replaces.
_special = re.compile("[&<>\"']").search

#: The types whose text never needs escaping.
_NUMBERS = frozenset({int, float})


def escape(value: object) -> str:
    """
    Return the text of a value, escaped unless it is markup already.

    :param value: the value of an expression in a template.
    """
    if type(value) is str:
        return markupsafe.escape(value) if _special(value) else value
    if type(value) is Markup:
        return value
    return str(value) if type(value) in _NUMBERS else markupsafe.escape(value)


def plain_output() -> "type[CodeGenerator] | None":
    """
    Return a code generator whose templates use this module's ``escape``.

    :return: None if Jinja2's is not as expected; see the tests of this module.
    """
    base: Any = CODE_GENERATOR.value
    if base is None:
        return None

    class PlainOutput(base):  # type: ignore[misc]
        def visit_Template(self, node: Any, frame: Any = None) -> None:
            super().visit_Template(node, frame)
            # The last line of the template's module rebinds the name.
            self.writeline(f"from {__name__} import {escape.__name__}")

    if not _uses_escape(PlainOutput):
        CODE_GENERATOR.warn()
        return None
    return PlainOutput


def _uses_escape(generator: "type[CodeGenerator]") -> bool:
    """Return whether a template that a generator writes renders with `escape`."""

    class Probe(Environment):
        code_generator_class = generator

    try:
        template = Probe(autoescape=True).from_string("{{ a }}{{ b }}")
        is_right = template.render(a="<", b=Markup("<")) == "&lt;<"
    except Exception:  # noqa: BLE001 - whatever it raises, it has changed
        return False
    return is_right and template.root_render_func.__globals__.get("escape") is escape
