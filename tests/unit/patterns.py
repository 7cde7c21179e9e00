"""The regular expressions of the package: where each is, and who writes its text."""

import ast
import re
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple

from werkzeug.routing import Map, Rule

from clusterapp.dispatch import keys
from clusterapp.http.klein.route_tree import _pattern
from tests.unit.test_layers import MODULES, PACKAGE

_USES = {"compile", "findall", "finditer", "fullmatch", "match", "search", "split"}
_USES |= {"sub", "subn"}

#: Patterns on what operators and developers write, or the system gives.
OPERATORS = {
    "system.forks:_PRIVATE": "names of our own sockets",
    "control.discovery:_NAME": "names of folders",
    "control.exports.facts:label": "the name of a module",
    "control.exports.proxies:_FIELD": "settings",
    "control.exports.proxies:_PARAMETER": "settings",
    "control.exports.quoting:_BARE": "what is exported",
    "control.exports.quoting:_HAPROXY_BARE": "what is exported",
    "control.exports.quoting:_UNIT_BARE": "what is exported",
    "control.exports.quoting:_YAML_BARE": "what is exported",
    "control.exports.quoting:kubernetes_argument": "what is exported",
    "http.upstream.core_agent:_URI": "URLs that applications ask the core for",
    "http.upstream.upstream_tls:_PEM": "files with certificates",
    "settings.endpoint_syntax:_PART": "settings",
    "settings.endpoint_syntax:_unquote": "settings",
    "settings.endpoint_syntax:quote": "settings",
    "settings.listen:_MODE": "settings",
    "settings.listen:_interface": "settings",
    "settings.option_types:_CORE": "settings",
    "settings.option_types:_SENDFILE": "settings",
    "settings.option_types:_SIZE": "settings",
    "settings.option_types:_STICKY_KEY": "settings",
    "settings.option_types:_URL_PATH": "settings",
    "settings.resolution:_SERVICE_ADDRESS": "variables of the environment",
    "settings.resolution:_SERVICE_VARIABLE": "variables of the environment",
    "web.application:_STATIC_URL": "what an application is made with",
    "web.static.fingerprints:_FINGERPRINT": "names of files in templates",
    "web.routing:_VARIABLE": "rules of applications",
    "web.routing:_pattern": "rules of applications",
}
#: Patterns on what clients, balancers or other workers send: how each is used, and how
#: a text begins that it does not refuse at once.
CLIENTS = {
    "demo:_HOST": ("fullmatch", b"a"),
    "dispatch.cookies:_VALUE": ("fullmatch", b"1."),
    "dispatch.keys:_cookie": ("search", b"a="),
    "http.klein.route_tree:_pattern": ("match", b"1"),
    "http.syntax.request_id:REQUEST_ID": ("fullmatch", b"a"),
    "http.syntax.chunked_body:_SIZE_LINE": ("fullmatch", b'5;a="'),
    "http.syntax.request_head:_ABSOLUTE": ("fullmatch", b"http://"),
    "http.syntax.request_head:_TARGET": ("fullmatch", b"/"),
    "http.syntax.request_head:_TOKEN": ("fullmatch", b"a"),
    "http.syntax.request_head:_VERSION": ("fullmatch", b"HTTP/1."),
    "http.syntax.authority:_HOST": ("fullmatch", b"[v1."),
    "http.syntax.proxy_protocol:_LINE": ("fullmatch", b"PROXY TCP4 "),
    "http.syntax.request_stream:_EMPTY_LINES": ("sub", b"\r\n"),
    "http.syntax.client_origin:_VALUE": ("fullmatch", b"0 "),
    "http.websocket.handshake:_KEY": ("fullmatch", b"A"),
    "master.distribution.agent_check:_QUESTION": ("fullmatch", b"slot 1"),
    "http.syntax.http_date:_ASCTIME": ("fullmatch", b"Sun Nov  6 "),
    "http.syntax.http_date:_IMF_FIXDATE": ("fullmatch", b"Sun, 06 Nov "),
    "http.syntax.http_date:_RFC_850": ("fullmatch", b"Sunday, 06-"),
    "settings.endpoint_syntax:decimal": ("fullmatch", b"1"),
    "web.static.conditional_requests:_TAGS": ("match", b'W/"'),
    "web.static.accept_encoding:_MEMBER": ("fullmatch", b"a;q=0."),
    "web.templates.escaping:_special": ("search", b"a"),
    "web.static.fingerprints:_MARK": ("fullmatch", b"0"),
    "web.clients.forwarded_header:_PARTS": ("findall", b'for="'),
    "web.clients.forwarded_header:_TOKEN": ("fullmatch", b"a"),
    "web.clients.forwarded_header:_WHOLE": ("fullmatch", b'for="'),
    "web.request_paths:_ABSOLUTE_FORM": ("sub", b"http://"),
    "web.request_paths:_SHOWN": ("fullmatch", b"a"),
    "web.static.range_requests:_RANGE": ("fullmatch", b"1-"),
}
#: Rules whose patterns are used on the paths of requests. What an application puts
#: together is its own affair: several variables in one segment, or of type ``path``,
#: take a time that grows with the power of their number, in werkzeug as well.
RULES = (
    *("/<a>", "/<string(minlength=0):a>", "/<string(length=3):a>", "/a<a>", "/<a>a"),
    *("/<int:a>", "/<int(signed=True):a>", "/<float:a>", "/<float(signed=True):a>"),
    *("/<uuid:a>", "/<any(a, aa, 'a/a', \"1\"):a>", "/1<int:a>1", "/<a>-<int:b>"),
    *("/<path:a>", "/<path:a>/", "/<path:a>/a", "/<path:a>/<b>", "/a/<path:a>.a/"),
)
#: Those of libraries that we, or applications, call with what clients have sent.
LIBRARIES = {
    "multipart:_re_hname": ("fullmatch", b"a"),
    "multipart:_re_option": ("findall", b'; a="'),
    "multipart:_re_token": ("fullmatch", b"a"),
    "twisted.web.http:_hostHeaderExpression": ("match", b"[a:"),
    "twisted.web.server:GzipEncoderFactory._gzipCheckRegex": ("search", b",gzip"),
}


class Pattern(NamedTuple):
    """
    A regular expression of the package.

    :ivar name: the module and what it is assigned to, or the function it stands in.
    :ivar source: the expression that gives its text.
    """

    name: str
    source: ast.expr


@cache
def patterns() -> Sequence[Pattern]:
    """Find the regular expressions of the package."""
    return list(_patterns())


def _patterns() -> Iterator[Pattern]:
    for path in MODULES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        for name, source in patterns_in(tree):
            yield Pattern(f"{module.removesuffix('.__init__')}:{name}", source)


def patterns_in(tree: ast.AST, within: str = "") -> Iterator[tuple[str, ast.expr]]:
    """Find the regular expressions of a piece of code, with what each belongs to."""
    for node in ast.iter_child_nodes(tree):
        inner = within
        if isinstance(node, ast.FunctionDef):
            inner = within or node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign) and not within:
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            inner = getattr(target, "id", "")
        elif isinstance(node, ast.Call) and _is_use(node.func):
            yield within, node.args[0]
        elif isinstance(node, ast.ImportFrom) and node.module == "re":
            raise AssertionError("import re as a whole, so that its uses are found")
        yield from patterns_in(node, inner)


def _is_use(called: ast.expr) -> bool:
    return (
        isinstance(called, ast.Attribute)
        and called.attr in _USES
        and isinstance(called.value, ast.Name)
        and called.value.id == "re"
    )


def _of_rules() -> Iterator[re.Pattern[str]]:
    """Give the patterns of rules with all of werkzeug's converters."""
    for text in RULES:
        rule = Rule(text)
        Map([rule])
        yield from (_pattern(part) for part in rule._parts if not part.static)


def compiled(name: str) -> list[re.Pattern[Any]]:
    """Return the patterns of a name in one of the lists."""
    if name == "dispatch.keys:_cookie":
        return [keys._cookie("clusterapp_slot"), keys._cookie("a")]
    if name == "http.klein.route_tree:_pattern":
        return list(_of_rules())
    module, _, path = name.partition(":")
    found: Any = import_module(module if name in LIBRARIES else f"clusterapp.{module}")
    for part in path.split("."):
        found = getattr(found, part, None)
    if isinstance(found, dict):
        return list(found.values())
    found = getattr(found, "__self__", found)  # a method of one
    if isinstance(found, re.Pattern):
        return [found]
    return [
        re.compile(ast.literal_eval(each.source))
        for each in patterns()
        if each.name == name
    ]
