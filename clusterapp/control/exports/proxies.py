"""The exports for nginx, made for Debian's 1.22, and for HAProxy, made for its 2.6."""

import re
from itertools import groupby

from clusterapp.control.exports.facts import Facts
from clusterapp.control.exports.template_environment import render
from clusterapp.dispatch.keys import AffinityKey
from clusterapp.errors import ExportError
from clusterapp.web.static.media_types import content_type

#: The types of files that nginx sends; the rest of a folder's files are seldom
#: requested, and are sent by a worker.
_EXTENSIONS = (
    *("avif", "css", "csv", "gif", "html", "ico", "jpeg", "jpg", "js", "json", "map"),
    *("mjs", "mp3", "mp4", "otf", "pdf", "png", "svg", "ttf", "txt", "wasm", "webm"),
    *("webmanifest", "webp", "woff", "woff2", "xml", "zip"),
)

#: Names of fields and of parameters for which nginx has a variable.
_FIELD = re.compile("[A-Za-z0-9_-]+")
_PARAMETER = re.compile("[A-Za-z0-9_]+")

#: PCRE's names of groups, as in `_pattern`, have 32 characters at most.
_LONGEST_NAME = 32 - len("_file")

_SENDFILE = "X-Accel-Redirect="


def nginx(facts: Facts) -> str:
    """
    Return nginx's configuration, as a file of conf.d.

    :raise ExportError: if nginx does not support the settings.
    """
    header, key, static = facts.settings.sendfile_header, facts.sticky, facts.static
    if header is not None and not header.startswith(_SENDFILE):
        raise ExportError(
            f"sendfile_header is {header}, which nginx does not know; for nginx it is"
            " as in --sendfile-header X-Accel-Redirect=/internal/static/"
        )
    name = _name(facts.label)
    client = None if key is None else _client_variable(key)
    workers = facts.workers if key is None or client is not None else {}
    return render(
        "nginx.conf.j2",
        facts,
        name=name,
        client=client,
        workers=workers,
        public=None if workers else facts.public(with_proxy=False),
        # A dollar sign in a path would start a variable, and cannot be escaped.
        static=None if static is None or "$" in static.folder else static,
        internal=None if header is None else header.removeprefix(_SENDFILE),
        static_pattern=static and _pattern(static.url, name),
        types=groupby(sorted(_EXTENSIONS, key=_media_type), _media_type),
    )


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


def _name(label: str) -> str:
    """Return the base of upstream and variable names; no digit comes first."""
    name = label.replace("-", "_")
    return (f"app_{name}" if name[0].isdigit() else name)[:_LONGEST_NAME]


def _client_variable(key: AffinityKey) -> str | None:
    """Return the name of nginx's variable for a client's key; None if it has none."""
    match key.source:
        case "client-ip":
            return "remote_addr"
        case "header" if _FIELD.fullmatch(key.name):
            return f"http_{key.name.lower().replace('-', '_')}"
        case "query" if _PARAMETER.fullmatch(key.name):
            return f"arg_{key.name}"
        case _:
            return None


def _pattern(url: str, name: str) -> str:
    """Return the pattern of file paths that nginx may send; none is hidden."""
    folders, file = r"(?:[^./\\][^/\\]*/)*", r"[^./\\][^/\\]*"
    ends = "|".join(_EXTENSIONS)
    return rf"^{re.escape(url)}(?<{name}_file>{folders}{file}\.(?:{ends}))$"


def _media_type(extension: str) -> str:
    return content_type(f"x.{extension}").decode()
