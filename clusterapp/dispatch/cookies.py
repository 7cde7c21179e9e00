"""The signed cookie that names a client's slot, for session affinity."""

import hmac
import re
from base64 import urlsafe_b64encode
from functools import lru_cache

#: The number of slots whose cookie values are cached.
_REMEMBERED = 1024

# A slot, and an HMAC-SHA256 in base64url (RFC 4648, section 5) without its padding.
_VALUE = re.compile(rb"(?P<slot>0|[1-9][0-9]{0,5})\.[A-Za-z0-9_-]{43}")


class SlotCookie:
    """
    The session affinity cookie, signed so that clients cannot forge one.

    :param name: the cookie's name, a token (RFC 9110, section 5.6.2).
    :param secret: the key of the signature. A client that has it can choose its slot.
    """

    def __init__(self, name: str, secret: bytes) -> None:
        self._name = name.encode("ascii")
        self._secret = secret
        self._value = lru_cache(_REMEMBERED)(self._signed)

    def slot(self, value: bytes) -> int | None:
        """
        Return the slot that a client's cookie names.

        :param value: the cookie's value, as received.
        :returns: None if the signature is not that of this secret and name. The slot
            may no longer exist.
        """
        match = _VALUE.fullmatch(value)
        if match is None:
            return None
        slot = int(match["slot"])
        return slot if hmac.compare_digest(value, self._value(slot)) else None

    def set_cookie(self, slot: int, *, secure: bool) -> bytes:
        """
        Return the value of a ``Set-Cookie`` field (RFC 6265, section 4.1).

        The cookie is valid for the whole site, until the browser is closed.

        :param slot: the slot to name.
        :param secure: whether the client's connection is over TLS: the cookie is then
            marked ``Secure``, and is never sent without TLS.
        """
        attributes = b"; Path=/; HttpOnly; SameSite=Lax" + b"; Secure" * secure
        return self._name + b"=" + self._value(slot) + attributes

    def _signed(self, slot: int) -> bytes:
        number = b"%d" % slot
        mac = hmac.digest(self._secret, self._name + b"=" + number, "sha256")
        return number + b"." + urlsafe_b64encode(mac).rstrip(b"=")
