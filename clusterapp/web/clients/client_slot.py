"""Session affinity: the slot that a request belongs to (in the master and workers)."""

import socket
from functools import lru_cache

from twisted.internet.interfaces import IAddress

from clusterapp.channel.stickiness import Stickiness
from clusterapp.dispatch.cookies import SlotCookie
from clusterapp.dispatch.keys import AffinityKey
from clusterapp.dispatch.rendezvous import slot_of, slot_of_address
from clusterapp.interfaces import Fields
from clusterapp.web.clients.trusted_proxies import TrustedProxies

#: The number of client addresses whose slots are cached.
_REMEMBERED = 4096


class ClientSlot:
    """
    The mapping from a request's client to its slot.

    :param how: the key that identifies a client, and the slots.
    :param trusted: the trusted proxies, which determine a client's address.
    :ivar cookie: the cookie that names the slot; None if the key is another one.
    :ivar slots: the numbers of the slots.
    """

    def __init__(self, how: Stickiness, trusted: TrustedProxies) -> None:
        key = AffinityKey.parse(how.key)
        self.cookie = (
            SlotCookie(key.name, bytes.fromhex(how.secret))
            if key.source == "cookie"
            else None
        )
        self.slots = how.slots
        self._key = key
        self._trusted = trusted
        self._of_address = lru_cache(_REMEMBERED)(self._find_address)

    def slot(self, peer: IAddress, target: bytes, fields: Fields) -> int | None:
        """
        Return the slot that a request belongs to.

        :param peer: the peer address of the request's connection.
        :param target: the request target.
        :param fields: the request's header fields.
        :return: None if it belongs to no slot, so that any worker can serve it.
        """
        if not self.slots:
            return None
        if self._key.source == "client-ip":
            client = self._trusted.client_of(peer, fields)
            return None if client is None else self._of_address(client)
        value = self._key.find(target, fields)
        if value is None:
            return None
        if self.cookie is None:
            return slot_of(value, self.slots)
        slot = self.cookie.slot(value)
        return slot if slot in self.slots else None

    def _find_address(self, client: str) -> int:
        family = socket.AF_INET6 if ":" in client else socket.AF_INET
        return slot_of_address(socket.inet_pton(family, client), self.slots)
