"""
Escaping what templates write, without an object for each value.

Jinja2 escapes with `markupsafe.escape`, whose result is a `Markup`, so that nobody
escapes it again. What a template writes is only joined, and making those objects
takes half of the time of a page with a table. Templates that are compiled by
`PlainOutput` escape with the function here instead; the pages are the same.
"""

import re

import markupsafe
from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from markupsafe import Markup

#: What MarkupSafe replaces.
_special = re.compile("[&<>\"']").search

#: Types whose texts have nothing to escape.
_NUMBERS = frozenset({int, float})


def escape(value: object) -> str:
    """
    Give the text of a value, escaped unless it is markup already.

    :param value: whatever stands in a template.
    """
    if type(value) is str:
        return markupsafe.escape(value) if _special(value) else value
    if type(value) is Markup:
        return value
    return str(value) if type(value) in _NUMBERS else markupsafe.escape(value)


class PlainOutput(CodeGenerator):
    """Compiles templates to code whose name ``escape`` means the function here."""

    def visit_Template(self, node: nodes.Template, frame: Frame | None = None) -> None:
        """Write a template's module; its last line has the last word."""
        super().visit_Template(node, frame)
        self.writeline(f"from {__name__} import {escape.__name__}")
