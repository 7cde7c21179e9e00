"""
The heads of HTTP/1.1 messages, and queries about their fields.

Nothing here does I/O.  Field names and values are the bytes of the wire; names are
compared case-insensitively (RFC 9110 5.1), and their case is preserved.
"""

from dataclasses import dataclass
from typing import Final

from clusterapp.interfaces import Fields

#: Hop-by-hop fields, in lower case.
#: RFC 9110 7.6.1 lists all but the last two, which RFC 9110 11.7 also defines for the
#: next hop.  ``Trailer`` is not among them: it announces the trailer fields to the
#: final recipient (RFC 9110 6.6.2).
HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"transfer-encoding",
        b"upgrade",
        b"proxy-authenticate",
        b"proxy-authorization",
    }
)

#: End-to-end fields that a request's ``Connection`` cannot make hop-by-hop, in lower
#: case: those that proxies in front have added about the client, and those that RFC
#: 9110 and others define for every recipient, which RFC 9110 7.6.1 says MUST NOT be
#: listed there.  Dropping one would let a client hide what a trusted proxy has added,
#: or make the core receive a different request than the worker: without credentials,
#: preconditions, ranges or the origin of a cross-site request.
_FOR_ALL: Final = frozenset(
    {
        # Fields of proxies about the client; see also `_FOR_ALL_PREFIXES`.
        b"cdn-loop",
        b"client-cert",
        b"client-cert-chain",
        b"client-ip",
        b"forwarded",
        b"remote-user",
        b"traceparent",
        b"tracestate",
        b"true-client-ip",
        b"via",
        b"x-client-ip",
        b"x-cluster-client-ip",
        b"x-original-host",
        b"x-original-url",
        b"x-request-id",
        b"x-rewrite-url",
        b"x-ssl-client-cert",
        # Fields of the request itself.
        b"authorization",
        b"cache-control",
        b"cookie",
        b"date",
        b"expect",
        b"from",
        b"host",
        b"idempotency-key",
        b"last-event-id",
        b"max-forwards",
        b"origin",
        b"pragma",
        b"priority",
        b"range",
        b"referer",
        b"trailer",
        b"user-agent",
    }
)
_FOR_ALL_PREFIXES: Final = (
    b"accept",
    b"access-control-",
    b"cf-",
    b"content-",
    b"if-",
    b"sec-",
    b"x-auth-",
    b"x-forwarded-",
    b"x-real-",
)

#: Fields that frame a body, in lower case (RFC 9112 6).
FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})

#: The field that makes a 100 response a close notice; with `Connection: close` the
#: parser would not parse anything after it.
_NOTICE_FIELD: Final = (b"Clusterapp-Notice", b"close")

#: Sent by a draining server on an idle connection from another process of the cluster:
#: an interim response (RFC 9110 15.2) that asks that process to close the connection. A
#: request that crosses the notice on the wire is answered as usual after it, so no
#: request is lost to a close.
CLOSE_NOTICE: Final = b"HTTP/1.1 100 Continue\r\n%b: %b\r\n\r\n" % _NOTICE_FIELD


@dataclass(frozen=True, slots=True)
class RequestHead:
    """
    The head of a request.

    :param method: the method as received, such as ``b"GET"``.
    :param target: the request target, byte for byte, such as ``b"/a%2Fb?"``.
    :param fields: the header fields in their order, with repeated ones.
    """

    method: bytes
    target: bytes
    fields: Fields = ()


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """
    The head of a response, interim (1xx) or final.

    :param status: the status code, from 100 to 999.
    :param reason: the reason phrase, often empty.
    :param fields: the header fields in their order, with repeated ones.
    """

    status: int
    reason: bytes
    fields: Fields = ()


def is_close_notice(head: ResponseHead) -> bool:
    """Return whether an interim response is a `CLOSE_NOTICE`."""
    return _NOTICE_FIELD in head.fields


def values(fields: Fields, name: bytes) -> list[bytes]:
    """
    Return the values of all lines of a field.

    :param name: the field's name in lower case.
    """
    return [value for known, value in fields if known.lower() == name]


def options(fields: Fields) -> frozenset[bytes]:
    """
    Return the options in the ``Connection`` lines, in lower case.

    All the lines count, not only the first (RFC 9110 5.3 and 7.6.1).
    """
    lines = values(fields, b"connection")
    if not lines:
        return frozenset()
    return frozenset(
        name.strip(b" \t") for name in b",".join(lines).lower().split(b",")
    )


def has_lines(wire: bytes, number: int) -> bool:
    """
    Return whether an encoded head has so many lines (RFC 9110, section 5.5).

    :param wire: the head; a name or value that a recipient could split into lines, or
        end at a NUL, makes it invalid.
    :param number: the number of lines that were encoded, each with its CRLF.
    """
    return wire.count(b"\r") == number and wire.count(b"\n") == number and 0 not in wire


def end_to_end(fields: Fields) -> list[tuple[bytes, bytes]]:
    """
    Return the end-to-end fields.

    Removed are :data:`HOP_BY_HOP` and the fields listed in ``Connection``, except
    fields for every recipient, such as ``X-Forwarded-For``, ``Host`` and
    ``Authorization``.

    :return: the other fields, in their order and case, with repeated ones.
    """
    kept: list[tuple[bytes, bytes]] = []
    if not fields:  # as most trailers are
        return kept
    named = False
    for field in fields:
        name = field[0].lower()
        if name not in HOP_BY_HOP:
            kept.append(field)
        elif name == b"connection":
            named = True
    if not named:
        return kept
    dropped = frozenset(name for name in options(fields) if not _is_for_all(name))
    return [field for field in kept if field[0].lower() not in dropped]


def without_hop_by_hop(fields: Fields) -> list[tuple[bytes, bytes]]:
    """
    Return the fields but :data:`HOP_BY_HOP`, whatever ``Connection`` lists.

    For a hop within one server, which is transparent to the application.
    """
    return [field for field in fields if field[0].lower() not in HOP_BY_HOP]


def _is_for_all(name: bytes) -> bool:
    """Return whether ``Connection`` may not list a field; its name in lower case."""
    return name in _FOR_ALL or name.startswith(_FOR_ALL_PREFIXES)


def asks_upgrade(fields: Fields) -> bool:
    """Return whether a request offers to switch protocols (RFC 9110 7.8)."""
    return b"upgrade" in options(fields) and bool(values(fields, b"upgrade"))
