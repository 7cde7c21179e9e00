"""The facts of a request in log events about failures."""

from inspect import unwrap
from types import CodeType
from typing import Any, cast

from twisted.internet.interfaces import IAddress
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Rule

from clusterapp.channel.log_pipe.log_events import RequestFacts
from clusterapp.http.server.trusted_peers import Proxies
from clusterapp.http.syntax.request_id import request_id_of
from clusterapp.interfaces import Fields
from clusterapp.printable import printable

#: The most bytes of a path that are logged.
_LONGEST_PATH = 500


def request_facts(
    method: bytes,
    target: bytes,
    fields: Fields,
    client: str | None,
    routed: tuple[Any, str] | None = None,
) -> RequestFacts:
    """
    Return the facts of a request for the log.

    :param target: its query is left out: it may contain secrets.
    :param client: the client's IP address, if it is known.
    :param routed: the Klein that it was dispatched by, and the path used for that.
    """
    path = target.partition(b"?")[0]
    rule = None if routed is None else _rule_of(*routed, method)
    shown = path[:_LONGEST_PATH] + (b"..." if len(path) > _LONGEST_PATH else b"")
    return RequestFacts(
        method=_text(method),
        path=_text(shown),
        route=None if rule is None else rule.rule,
        client=client,
        request_id=request_id_of(fields),
    )


def client_of(proxies: Proxies, peer: IAddress | None, fields: Fields) -> str | None:
    """Return the client's address; None if the connection has none."""
    return None if peer is None else proxies.client_of(peer, fields)


def handler_of(app: Any, path: str, method: bytes) -> str | None:
    """
    Return the handler of a request, with file and line; None if it has none.

    :param app: the Klein that the request was dispatched by.
    :param path: the path used for that.
    """
    rule = _rule_of(app, path, method)
    handler = None if rule is None else unwrap(app.endpoints[rule.endpoint])
    code = getattr(handler, "__code__", None)
    if not isinstance(code, CodeType):
        return None
    return f"{code.co_qualname} in {code.co_filename}, line {code.co_firstlineno}"


def _rule_of(app: Any, path: str, method: bytes) -> Rule | None:
    """Match the request again for its rule: dispatch keeps only the handler."""
    try:
        rule, _ = app.url_map.bind("").match(path, method.decode(), return_rule=True)
    except (HTTPException, ValueError):
        return None
    return cast("Rule", rule)


def _text(sent: bytes) -> str:
    return printable(sent.decode("utf-8", "backslashreplace"), "").replace(" ", "\\x20")
