"""The table that ``--print-config`` prints."""

from collections.abc import Iterable

from clusterapp.settings.model import OPTIONS
from clusterapp.settings.resolution import ResolvedSettings


def settings_table(resolved: ResolvedSettings) -> str:
    """Return every setting, its value and its source, in aligned columns."""
    return aligned_rows(
        (
            option.name,
            option.format(getattr(resolved.settings, option.name)),
            resolved.origins[option.name],
        )
        for option in OPTIONS
    )


def aligned_rows(settings: Iterable[tuple[str, str, str]]) -> str:
    """Return the name, the value and the source of settings in aligned columns."""
    rows = [("setting", "value", "source"), *settings]
    first, second = (max(len(row[column]) for row in rows) for column in (0, 1))
    return "".join(
        f"{name:<{first}}  {value:<{second}}  {source}\n"
        for name, value, source in rows
    )
