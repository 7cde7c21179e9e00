"""Which requests that come to this worker other workers are to serve."""

from collections.abc import Sequence

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress

from clusterapp.channel.bootstrap import PRIVATE
from clusterapp.channel.stickiness import Stickiness
from clusterapp.http.server.connection import Connection
from clusterapp.http.server.session_affinity import Take
from clusterapp.http.syntax.request_head import Head
from clusterapp.web.client_slot import Belonging
from clusterapp.web.trusted_proxies import TrustedProxies
from clusterapp.worker.relay import Relay


class SlotAffinity:
    """
    Knows whose client each request is: a `session_affinity.SessionAffinity`.

    New clients that are to get a cookie stay where they come, if they come by a
    connection of their own: somebody has chosen this worker for it. Those that come
    through a proxy are given to all slots in turn, or the few workers that its
    connections have would get all of them.

    :param slot: this worker's slot.
    :param relay: passes requests to other workers.
    :param trusted: knows who the client is when it comes through proxies.
    """

    def __init__(self, slot: int, relay: Relay, trusted: TrustedProxies) -> None:
        self.doors: frozenset[str] = frozenset()
        self._slot = slot
        self._relay = relay
        self._trusted = trusted
        self._belonging: Belonging | None = None
        self._turn = slot

    def update_affinity(self, how: Stickiness) -> None:
        """Know how clients belong to workers from now on."""
        self.doors = frozenset(how.doors)
        self._belonging = Belonging(how, self._trusted)
        if self.doors and self._belonging.cookie is not None:
            # New clients whom others pass on are made known here.
            self.doors |= {PRIVATE}

    def receive(self, head: Head, connection: Connection) -> tuple[Take | None, bytes]:
        """Tell where a request is to be served, and how its client is made known."""
        belonging = self._belonging
        assert belonging is not None  # noqa: S101 - there are no doors before it
        peer = connection.getPeer()
        slot = belonging.slot(peer, head.target, head.fields)
        cookie = belonging.cookie if slot is None else None
        # What has been passed on is not passed on again.
        if connection.door != PRIVATE:
            if cookie is not None and self._is_proxy(peer):
                slot = self._next(belonging.slots)
            if slot is not None and slot != self._slot:
                return self._relay.to(slot), b""
        if cookie is None or self._slot not in belonging.slots:
            return None, b""
        secure = self._trusted.is_secure(
            peer, head.fields, secure=connection.isSecure()
        )
        made = cookie.set_cookie(self._slot, secure=secure)
        return None, b"Set-Cookie: %b\r\n" % made

    def _next(self, slots: Sequence[int]) -> int | None:
        """Tell whose turn it is; nobody's if there is no slot."""
        self._turn += 1
        return slots[self._turn % len(slots)] if slots else None

    def _is_proxy(self, peer: IAddress) -> bool:
        if isinstance(peer, IPv4Address | IPv6Address):
            return self._trusted.trusts(peer.host)
        return self._trusted.trusts(None)
