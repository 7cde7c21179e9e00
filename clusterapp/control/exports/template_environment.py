"""The Jinja2 environment of the templates, which writes only quoted values."""

from jinja2 import Environment, PackageLoader, StrictUndefined

from clusterapp.control.exports.derived_settings import Timeouts
from clusterapp.control.exports.facts import Facts
from clusterapp.control.exports.quoting import FILTERS, quoted_only


def environment(template: str) -> Environment:
    """
    Return the environment of a template: it has only the filters of its format.

    :param template: the name of its file.
    """
    made = Environment(
        loader=PackageLoader("clusterapp.control.exports"),
        autoescape=False,  # noqa: S701 - no format is HTML; `finalize` checks quoting
        finalize=quoted_only,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= FILTERS[template]
    return made


def render(template: str, facts: Facts, **values: object) -> str:
    """
    Render a template.

    :param template: the name of its file.
    :param facts: the variable ``facts``; ``settings`` and ``timeouts`` are derived from
        it.
    :param values: other variables of the template.
    :raise ExportError: if a value cannot be written in the format.
    """
    values |= {"facts": facts, "settings": facts.settings}
    values["timeouts"] = Timeouts(facts.settings)
    return environment(template).get_template(template).render(values)
