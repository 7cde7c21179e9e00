"""The configuration of nginx, as a file of conf.d: made for Debian's 1.22."""

import re
from collections.abc import Iterator

from clusterapp.control.exports.facts import Facts, Place, Public
from clusterapp.control.exports.words import (
    answer_timeout,
    idle_timeout,
    one_line,
    span,
)
from clusterapp.dispatch.keys import Key
from clusterapp.errors import ExportError
from clusterapp.interfaces import StaticFolder
from clusterapp.web.media import content_type

#: Idle connections that each process of nginx keeps for each server.
_KEPT = 32

#: The types of files that nginx sends; the rest of what a folder may have is seldom
#: asked for, and comes from a worker.
_EXTENSIONS = (
    *("avif", "css", "csv", "gif", "html", "ico", "jpeg", "jpg", "js", "json", "map"),
    *("mjs", "mp3", "mp4", "otf", "pdf", "png", "svg", "ttf", "txt", "wasm", "webm"),
    *("webmanifest", "webp", "woff", "woff2", "xml", "zip"),
)

#: Names of fields and of parameters that have a variable in nginx.
_FIELD = re.compile("[A-Za-z0-9_-]+")
_PARAMETER = re.compile("[A-Za-z0-9_]+")

_SENDFILE = "X-Accel-Redirect="

_HEAD = """\
# nginx in front of {app}, written by: clusterctl export nginx
#
# A file for /etc/nginx/conf.d/. Export it anew when the settings, the number of
# workers or the folder of the application have changed.

# WebSockets are upgraded; all other requests share kept-alive connections.
map $http_upgrade ${name}_connection {{
    ~*^websocket$ upgrade;
    default       "";
}}
"""

_SERVER = """\
server {{
    listen 80;
    # Every name that no other server has; better write those of the site.
    server_name ~.;

    # As --max-body.
    client_max_body_size {max_body};
{fields}
    proxy_http_version 1.1;
    proxy_set_header Host $http_host;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection ${name}_connection;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header X-Forwarded-Host $http_host;
    # Workers would believe what a client has written there.
    proxy_set_header Forwarded "";

    proxy_connect_timeout 5s;
    # {why_read}
    # It is also how long a WebSocket may be silent.
    proxy_read_timeout {read};
    proxy_send_timeout {read};
    # A request whose worker dies goes to another one, once, unless it might be done
    # twice: neither POST nor whatever else is not idempotent.
    proxy_next_upstream error;
    proxy_next_upstream_tries 2;
    # An event stream that is not to be held back says X-Accel-Buffering: no.

    location / {{
        proxy_pass {url};
    }}
{static}}}
"""

_STATIC = """\

    # Static files, as workers send them. What would not be the same comes from a
    # worker: names with a fingerprint, which are for ever if it fits, folders,
    # symbolic links, rarer types, and whatever nginx may not read.
    location {url} {{
        proxy_pass {upstream};

        location ~ {pattern} {{
            root {folder};
            try_files /${name}_file @{name}_worker;
            disable_symlinks on {below};
            add_header Cache-Control "{cache}";
            add_header X-Content-Type-Options nosniff;
            # Keep app.css.gz no older than app.css: nginx does not look.
            gzip_static on;
            gzip_vary on;
            default_type application/octet-stream;
            types {{
{types}
            }}
        }}
    }}

    location @{name}_worker {{
        proxy_pass {upstream};
    }}
"""

_INTERNAL = """\

    # What workers tell nginx to send: the prefix of --sendfile-header.
    location {prefix} {{
        internal;
        alias {folder};
        add_header X-Content-Type-Options nosniff;
        # Keep app.css.gz no older than app.css: nginx does not look.
        gzip_static on;
        gzip_vary on;
    }}
"""


def nginx(facts: Facts) -> str:
    """
    Write nginx's configuration.

    :raise ExportError: if nginx cannot do what the settings ask of it.
    """
    name = facts.label.replace("-", "_")
    upstream = _Upstream(facts, name)
    settings = facts.settings
    server = _SERVER.format(
        name=name,
        max_body=settings.max_body,
        fields=_unusual_fields(upstream.key),
        read=span(answer_timeout(settings)),
        why_read=_why_read(facts),
        url=upstream.url,
        static=_static(facts, name, upstream.url),
    )
    head = _HEAD.format(app=one_line(facts.app), name=name)
    return f"{head}\n{upstream.text()}\n{server}"


class _Upstream:
    """What nginx connects to: the workers one by one, or the public port."""

    def __init__(self, facts: Facts, name: str) -> None:
        self.key = facts.sticky
        self._facts = facts
        self._name = name
        self._client = None if self.key is None else _variable(self.key)
        alone = self.key is None or self._client is not None
        self._workers = facts.workers if alone else {}
        self._public = None if self._workers else facts.public(with_proxy=False)

    @property
    def url(self) -> str:
        """What requests are passed to."""
        is_tls = self._public is not None and self._public.is_tls
        return f"{'https' if is_tls else 'http'}://{self._name}"

    def text(self) -> str:
        """Write the block, with whatever belongs to it."""
        lines = [*self._map(), f"upstream {self._name} {{"]
        lines += (f"    {line}" for line in self._lines())
        return "".join(f"{line}\n" for line in [*lines, "}"])

    def _map(self) -> Iterator[str]:
        """Give clients without a key their address in its place."""
        client = self._client
        if not self._workers or client is None or client == "$remote_addr":
            return
        yield f"# What a client is known by: --sticky {self._facts.sticky_text}."
        yield f"map {client} ${self._name}_client {{"
        yield '    ""      $remote_addr;'
        yield f"    default {client};"
        yield "}"
        yield ""

    def _lines(self) -> Iterator[str]:
        yield f"zone {self._name} 128k;"
        yield from self._method()
        yield from self._servers()
        kept = _KEPT * max(1, len(self._workers))
        yield f"keepalive {kept};"
        yield "# Less than --keepalive-timeout: who closes first loses no request."
        yield f"keepalive_timeout {span(idle_timeout(self._facts.settings))};"

    def _method(self) -> Iterator[str]:
        if self._public is not None:
            yield from _why_public(self._facts, self._public)
        elif self._client is None:
            yield "least_conn;"
        elif self._client == "$remote_addr":
            yield "hash $remote_addr consistent;"
        else:
            yield f"hash ${self._name}_client consistent;"

    def _servers(self) -> Iterator[str]:
        places = self._workers or {}
        for place in [*places.values()][:1]:
            yield from _doubts(self._facts, place)
        if places:
            yield "# The master keeps these ports open, so none of them ever fails."
        for slot, place in places.items():
            yield f"server {place} max_fails=0;  # slot {slot}"
        if self._public is not None:
            yield from _doubts(self._facts, self._public.place)
            yield f"server {_address(self._public.place)};"


def _variable(key: Key) -> str | None:
    """Give the variable that a client is known by; None if nginx has none."""
    match key.source:
        case "client-ip":
            return "$remote_addr"
        case "header" if _FIELD.fullmatch(key.name):
            return f"$http_{key.name.lower().replace('-', '_')}"
        case "query" if _PARAMETER.fullmatch(key.name):
            return f"$arg_{key.name}"
        case _:
            return None


def _why_public(facts: Facts, public: Public) -> Iterator[str]:
    if facts.sticky is not None:
        yield "# The public port, at which each request finds its client's worker."
        if facts.settings.worker_ports is not None:
            yield f"# nginx cannot do that by {facts.sticky_text}."
    else:
        yield "# The public port; with --worker-ports nginx would choose the worker."
    if public.is_tls:
        yield "# It is encrypted, but not verified: nothing leaves this machine."


def _doubts(facts: Facts, place: Place) -> Iterator[str]:
    if not facts.trusts(place):
        yield "# NOT YET RIGHT: --trusted-proxies does not name where nginx comes from,"
        yield "# so that workers take it for the client of all requests."


def _address(place: Place) -> str:
    return str(place) if place.port is not None else _quoted(f"unix:{place}")


def _why_read(facts: Facts) -> str:
    if facts.settings.request_timeout is None:
        return (
            "There is no --request-timeout, so nginx is patient; workers are watched."
        )
    return "More than --request-timeout and --core-timeout: our 503 or 504 comes first."


def _unusual_fields(key: Key | None) -> str:
    """Let a field through that clients are known by, although nginx finds it odd."""
    if key is None or key.source != "header":
        return ""
    if _FIELD.fullmatch(key.name) is None:
        return "    ignore_invalid_headers off;\n"
    return "    underscores_in_headers on;\n" if "_" in key.name else ""


def _static(facts: Facts, name: str, upstream: str) -> str:
    """Write the locations of static files, if there are any that nginx can send."""
    header, static = facts.settings.sendfile_header, facts.static
    if header is not None and not header.startswith(_SENDFILE):
        raise ExportError(
            f"sendfile_header is {header}, which nginx does not know; for nginx it is"
            " as in --sendfile-header X-Accel-Redirect=/internal/static/"
        )
    # In a path nginx would take it for a variable, and there is no escape from that.
    if static is None or "$" in static.folder:
        return ""
    if header is not None:
        prefix = header.removeprefix(_SENDFILE)
        folder = _quoted(static.folder.rstrip("/") + "/")
        return _INTERNAL.format(prefix=prefix, folder=folder)
    age = int(facts.settings.static_max_age)
    return _STATIC.format(
        name=name,
        upstream=upstream,
        url=_quoted(static.url),
        pattern=_quoted(_pattern(static, name)),
        folder=_quoted(static.folder),
        below=_quoted(f"from={static.folder}"),
        cache=f"max-age={age}" if age else "no-cache",
        types="\n".join(_types()),
    )


def _pattern(static: StaticFolder, name: str) -> str:
    """Match paths of files that nginx may send, none of them hidden."""
    folders, file = r"(?:[^./\\][^/\\]*/)*", r"[^./\\][^/\\]*"
    ends = "|".join(_EXTENSIONS)
    return rf"^{re.escape(static.url)}(?<{name}_file>{folders}{file}\.(?:{ends}))$"


def _types() -> Iterator[str]:
    of_type: dict[str, list[str]] = {}
    for extension in _EXTENSIONS:
        kind = content_type(f"x.{extension}").decode()
        of_type.setdefault(kind, []).append(extension)
    for kind, extensions in sorted(of_type.items()):
        yield f"                {_quoted(kind)} {' '.join(extensions)};"


def _quoted(text: str) -> str:
    escaped = one_line(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
