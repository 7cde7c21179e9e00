"""What ``--help`` and ``--print-config`` print."""

import textwrap
from collections.abc import Iterable

from clusterapp.settings.model import SETTINGS
from clusterapp.settings.sources import Chosen

_INDENT = " " * 6


def settings_text(chosen: Chosen) -> str:
    """Write every setting, its value and its source, in aligned columns."""
    return rows_text(
        (
            setting.name,
            setting.show(getattr(chosen.settings, setting.name)),
            chosen.origins[setting.name],
        )
        for setting in SETTINGS
    )


def rows_text(settings: Iterable[tuple[str, str, str]]) -> str:
    """
    Write settings in aligned columns, with a heading.

    :param settings: the name, the value and the source of each.
    """
    rows = [("setting", "value", "source"), *settings]
    first = max(len(row[0]) for row in rows)
    second = max(len(row[1]) for row in rows)
    return "".join(
        f"{name:<{first}}  {value:<{second}}  {source}\n"
        for name, value, source in rows
    )


def options_text(longdesc: str, others: Iterable[tuple[str, str]], columns: int) -> str:
    """
    Describe the flags.

    :param longdesc: the paragraph in front of them.
    :param others: the flags that are no settings, each with its description.
    :param columns: the width of a line.
    """
    flags = [
        (
            setting.synopsis,
            f"{setting.about.help} Default: {setting.default_text}.",
        )
        for setting in SETTINGS
    ]
    described = "".join(
        f"  {flag}\n{_indented(text, columns)}\n" for flag, text in (*flags, *others)
    )
    return f"\n{textwrap.fill(longdesc, columns)}\n\nOptions:\n{described}"


def _indented(text: str, columns: int) -> str:
    return textwrap.fill(
        text,
        columns,
        initial_indent=_INDENT,
        subsequent_indent=_INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )
