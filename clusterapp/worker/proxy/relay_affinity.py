"""The session affinity of a worker: which requests are relayed to other workers."""

from collections.abc import Sequence

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress

from clusterapp.channel.bootstrap import PRIVATE
from clusterapp.channel.stickiness import Stickiness
from clusterapp.http.exchange.session_affinity import Take
from clusterapp.http.server.server_interfaces import Channel
from clusterapp.http.syntax.request_head import Head
from clusterapp.web.clients.client_slot import ClientSlot
from clusterapp.web.clients.trusted_proxies import TrustedProxies
from clusterapp.worker.proxy.relay import Relay


class SlotAffinity:
    """
    The choice of the slot that serves a request: a `session_affinity.SessionAffinity`.

    New clients that are to get a cookie stay in this worker if they have connected to
    it directly: the listener's policy has chosen it. Those that come through a trusted
    proxy are distributed to all slots in turn, since otherwise the few workers that
    have the proxy's connections would get all of them.

    :param slot: this worker's slot.
    :param relay: the reverse proxy to other workers.
    :param trusted: the trusted proxies, which determine a client's address.
    """

    def __init__(self, slot: int, relay: Relay, trusted: TrustedProxies) -> None:
        self.listeners: frozenset[str] = frozenset()
        self._slot = slot
        self._relay = relay
        self._trusted = trusted
        self._belonging: ClientSlot | None = None
        self._turn = slot

    def update_affinity(self, how: Stickiness) -> None:
        """Replace the session affinity: sticky listeners, key of a client and slots."""
        self.listeners = frozenset(how.listeners)
        self._belonging = ClientSlot(how, self._trusted)
        if self.listeners and self._belonging.cookie is not None:
            # New clients that other workers relay here get their cookie here.
            self.listeners |= {PRIVATE}

    def receive(self, head: Head, connection: Channel) -> tuple[Take | None, bytes]:
        """
        Return how to serve a request: the relay to another slot, or None for here.

        :param head: the request head.
        :param connection: the connection that it was received on.
        :return: the function that relays the request, None if this worker serves it;
            and the Set-Cookie line for the response head, empty if none is due.
        """
        client_slot = self._belonging
        assert client_slot is not None  # noqa: S101 - no listener has affinity before
        peer = connection.getPeer()
        slot = client_slot.slot(peer, head.target, head.fields)
        cookie = client_slot.cookie if slot is None else None
        # A request that was relayed here is not relayed again.
        if connection.listener != PRIVATE:
            if cookie is not None and self._is_proxy(peer):
                slot = self._next(client_slot.slots)
            if slot is not None and slot != self._slot:
                return self._relay.to(slot), b""
        if cookie is None or self._slot not in client_slot.slots:
            return None, b""
        secure = self._trusted.is_secure(
            peer, head.fields, secure=connection.isSecure()
        )
        made = cookie.set_cookie(self._slot, secure=secure)
        return None, b"Set-Cookie: %b\r\n" % made

    def _next(self, slots: Sequence[int]) -> int | None:
        """Return the next slot in turn, None if there is no slot."""
        self._turn += 1
        return slots[self._turn % len(slots)] if slots else None

    def _is_proxy(self, peer: IAddress) -> bool:
        if isinstance(peer, IPv4Address | IPv6Address):
            return self._trusted.trusts(peer.host)
        return self._trusted.trusts(None)
