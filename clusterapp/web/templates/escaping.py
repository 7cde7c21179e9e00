"""
The escaping of values in templates, without a `Markup` object for each value.

Jinja2 escapes with `markupsafe.escape`, whose result is a `Markup`, so that it is not
escaped again. A template's output is only joined, and the creation of those objects
takes half of the time of a page with a table. Templates that are compiled by
`PlainOutput` escape with the function of this module instead; the pages are the same.
"""

import re

import markupsafe
from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from markupsafe import Markup

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


class PlainOutput(CodeGenerator):
    """A code generator whose templates use this module's ``escape``."""

    def visit_Template(self, node: nodes.Template, frame: Frame | None = None) -> None:
        """Write a template's module, with a last line that rebinds ``escape``."""
        super().visit_Template(node, frame)
        self.writeline(f"from {__name__} import {escape.__name__}")
