"""The session affinity key, by which requests of one client are known: ``--sticky``."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, cast, get_args
from urllib.parse import unquote_to_bytes

from clusterapp.interfaces import Fields

Source = Literal["client-ip", "cookie", "header", "query"]

#: The name of the cookie if the setting has none.
DEFAULT_COOKIE = "clusterapp_slot"


@dataclass(frozen=True)
class AffinityKey:
    """
    The part of a request that identifies its client.

    :param source: the kind of the part.
    :param name: the name of the cookie, the field or the query parameter; empty for
        ``client-ip``.
    """

    source: Source
    name: str = ""

    @classmethod
    def parse(cls, text: str) -> "AffinityKey":
        """
        Parse the setting, such as ``client-ip`` or ``header:X-Session``.

        :raise ValueError: the text does not begin with a known source.
        """
        source, _, name = text.partition(":")
        if source not in get_args(Source):
            raise ValueError(f"{source!r} is none of {', '.join(get_args(Source))}")
        if source == "cookie":
            name = name or DEFAULT_COOKIE
        return cls(cast("Source", source), name)

    def find(self, target: bytes, fields: Fields) -> bytes | None:
        """
        Return the value of the key in a request.

        :param target: the request target, as on the wire.
        :param fields: the request's header fields.
        :returns: the value of the first cookie, field or query parameter of that name,
            the latter percent-decoded; None if there is none, if the first is empty,
            and for the source ``client-ip``.
        """
        match self.source:
            case "cookie":
                return _in_cookies(self.name, fields)
            case "header":
                return _in_fields(self.name.lower().encode(), fields)
            case "query":
                return _in_query(self.name.encode(), target)
            case "client-ip":
                return None


def _in_fields(name: bytes, fields: Fields) -> bytes | None:
    for known, value in fields:
        if known.lower() == name:
            return value or None
    return None


def _in_query(name: bytes, target: bytes) -> bytes | None:
    _, _, query = target.partition(b"?")
    for parameter in query.split(b"&"):
        known, _, value = parameter.partition(b"=")
        if _decoded(known) == name:
            return _decoded(value) or None
    return None


def _decoded(text: bytes) -> bytes:
    """Decode a form-urlencoded name or value (WHATWG URL, section 5.1)."""
    return unquote_to_bytes(text.replace(b"+", b" "))


def _in_cookies(name: str, fields: Fields) -> bytes | None:
    pattern = _cookie(name)
    for known, value in fields:
        if known.lower() == b"cookie" and (match := pattern.search(value)):
            return match["value"].rstrip(b" \t") or None
    return None


@lru_cache(16)
def _cookie(name: str) -> re.Pattern[bytes]:
    """
    Return the pattern of a cookie in a Cookie field (RFC 6265, section 4.2.1).

    The text between two semicolons is scanned once and is not copied: a field can have
    megabytes.
    """
    return re.compile(
        rb"(?:\A|;)[ \t]*%b[ \t]*=[ \t]*(?P<value>[^;]*)" % re.escape(name).encode()
    )
