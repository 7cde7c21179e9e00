"""The export for HAProxy: made for Debian's 2.6."""

from clusterapp.control.exports.facts import Facts
from clusterapp.control.exports.template_environment import render
from clusterapp.errors import ExportError


def haproxy(facts: Facts) -> str:
    """
    Return HAProxy's configuration.

    :raise ExportError: if HAProxy does not support the settings.
    """
    header = facts.settings.sendfile_header
    if header is not None:
        raise ExportError(
            f"sendfile_header is {header}, and HAProxy sends no files: without that"
            " setting workers send them"
        )
    return render("haproxy.cfg.j2", facts)
