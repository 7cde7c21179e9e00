"""The cookie that names a client's slot, signed so that nobody can make one up."""

import hmac
import re
from base64 import urlsafe_b64encode
from functools import lru_cache

#: How many slots' cookies are remembered.
_REMEMBERED = 1024

# A slot, and an HMAC-SHA256 in base64url (RFC 4648, section 5) without its padding.
_VALUE = re.compile(rb"(?P<slot>0|[1-9][0-9]{0,5})\.[A-Za-z0-9_-]{43}")


class SlotCookie:
    """
    What a client is given so that it stays with its slot.

    :param name: the cookie's name, a token (RFC 9110, section 5.6.2).
    :param secret: the key of its signature. Whoever has it can choose his slot.
    """

    def __init__(self, name: str, secret: bytes) -> None:
        self._name = name.encode("ascii")
        self._secret = secret
        self._value = lru_cache(_REMEMBERED)(self._signed)

    def slot(self, value: bytes) -> int | None:
        """
        Tell the slot that a client's cookie names.

        :param value: the cookie's value, as the client sent it.
        :returns: None for a value that was not made here, or with another secret or
            name. The slot may have ceased to be.
        """
        match = _VALUE.fullmatch(value)
        if match is None:
            return None
        slot = int(match["slot"])
        return slot if hmac.compare_digest(value, self._value(slot)) else None

    def set_cookie(self, slot: int, *, secure: bool) -> bytes:
        """
        Write a ``Set-Cookie`` field's value (RFC 6265, section 4.1).

        It is for the whole site, until the browser is closed.

        :param slot: the slot to name.
        :param secure: whether the client came over TLS: the cookie then never goes
            over a connection without it.
        """
        attributes = b"; Path=/; HttpOnly; SameSite=Lax" + b"; Secure" * secure
        return self._name + b"=" + self._value(slot) + attributes

    def _signed(self, slot: int) -> bytes:
        number = b"%d" % slot
        mac = hmac.digest(self._secret, self._name + b"=" + number, "sha256")
        return number + b"." + urlsafe_b64encode(mac).rstrip(b"=")
