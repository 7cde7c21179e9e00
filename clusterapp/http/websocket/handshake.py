"""The server's checks of a WebSocket opening handshake (RFC 6455, 4.2)."""

import re
from http import HTTPStatus
from typing import Final, NamedTuple, Protocol

from clusterapp.interfaces import Fields

#: The only version of the protocol (RFC 6455, section 4.4).
VERSION: Final = b"13"

#: The name of the protocol in Upgrade, compared case-insensitively (section 4.2.1).
_WEBSOCKET: Final = b"websocket"

_KEY_NAME: Final = b"sec-websocket-key"
_VERSION_NAME: Final = b"sec-websocket-version"

#: 16 bytes in base64.
_KEY: Final = re.compile(rb"[A-Za-z0-9+/]{22}==")

#: The fields of the response to a client of another version (RFC 6455, section 4.4; RFC
#: 9110, section 15.5.22).
_UPGRADE_REQUIRED: Final = (
    (b"Sec-WebSocket-Version", VERSION),
    (b"Upgrade", _WEBSOCKET),
    (b"Connection", b"Upgrade"),
)


class Handshake(Protocol):
    """The head of a request that may be an opening handshake."""

    method: bytes
    version: bytes
    fields: Fields
    length: int | None
    websocket: bool


class Refusal(NamedTuple):
    """
    The response that rejects a handshake.

    :ivar status: the status of the response.
    :ivar reason: the cause.
    :ivar fields: the fields of the response.
    """

    status: HTTPStatus
    reason: str
    fields: Fields = ()


def offers_websocket(upgrade: bytes) -> bool:
    """
    Return whether a request offers the WebSocket protocol.

    Every value that a WebSocket library might accept as its name counts: a library that
    trims or lowers characters beyond ASCII must not receive a handshake that was not
    checked.

    :param upgrade: the value of the Upgrade field, of all its lines.
    """
    return _WEBSOCKET in upgrade.lower() or not upgrade.isascii()


def accept_handshake(
    head: Handshake, upgrade: bytes, *, connection_upgrades: bool
) -> Refusal | None:
    """
    Check a client's handshake; if it is valid, mark its head as a WebSocket.

    From now on ``websocket`` is its only Upgrade. A client may list other protocols
    beside it (RFC 9110, section 7.8), but WebSocket libraries reject such a list, and
    workers forward none: applications in workers and in the core get the same.

    :param head: the head of the request.
    :param upgrade: the value of its Upgrade field, of all its lines.
    :param connection_upgrades: whether Connection lists ``upgrade``.
    :return: None for a valid handshake.
    """
    refusal = _refusal_of(head, upgrade, connection_upgrades=connection_upgrades)
    if refusal is None:
        others = [field for field in head.fields if field[0].lower() != b"upgrade"]
        head.fields = [*others, (b"Upgrade", _WEBSOCKET)]
        head.websocket = True
    return refusal


def _refusal_of(
    head: Handshake, upgrade: bytes, *, connection_upgrades: bool
) -> Refusal | None:
    """
    Validate a client's handshake (RFC 6455, section 4.2.1).

    The Host is checked for every request. Origin, subprotocols and extensions are left
    to the application.

    :param head: the head of the request. It may have no body, which a library might
        parse as the first frames.
    :param upgrade: the value of its Upgrade field, of all its lines.
    :param connection_upgrades: whether Connection lists ``upgrade``.
    :return: None for a valid handshake.
    """
    if head.method != b"GET" or head.version != b"HTTP/1.1" or head.length != 0:
        return _bad("a WebSocket begins with a GET of HTTP/1.1 without a body")
    names = [name.strip(b" \t") for name in upgrade.lower().split(b",")]
    if not connection_upgrades or _WEBSOCKET not in names:
        return _bad("not Upgrade: websocket with Connection: upgrade")
    found: dict[bytes, list[bytes]] = {_KEY_NAME: [], _VERSION_NAME: []}
    for name, value in head.fields:
        lines = found.get(name.lower())
        if lines is not None:
            lines.append(value)
    keys, versions = found[_KEY_NAME], found[_VERSION_NAME]
    if len(versions) != 1:
        return _bad("not one Sec-WebSocket-Version")
    if versions[0] != VERSION:
        return Refusal(
            HTTPStatus.UPGRADE_REQUIRED, "another version", _UPGRADE_REQUIRED
        )
    if len(keys) != 1 or not _KEY.fullmatch(keys[0]):
        return _bad("not one Sec-WebSocket-Key of 16 bytes in base64")
    return None


def _bad(reason: str) -> Refusal:
    return Refusal(HTTPStatus.BAD_REQUEST, reason)
