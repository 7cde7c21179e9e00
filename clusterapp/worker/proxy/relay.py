"""The relay of requests to the worker of their client's slot (in a worker)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from clusterapp.channel.bootstrap import private_name
from clusterapp.http.exchange.exchange import Exchange
from clusterapp.http.syntax.message_head import RequestHead, without_hop_by_hop
from clusterapp.http.upstream.forwarding_client import ForwardingClient
from clusterapp.settings.option_types import MAX_SECONDS
from clusterapp.web.clients.trusted_proxies import TrustedProxies
from clusterapp.web.cluster_membership import agent_beside
from clusterapp.worker.proxy.proxied_request import UPGRADE_FIELDS, Upstream
from clusterapp.worker.proxy.readiness import Readiness
from clusterapp.worker.proxy.reverse_proxy import ReverseProxy, with_host
from clusterapp.worker.proxy.stream_drain import StreamDrain
from clusterapp.worker.proxy.upstream_timeouts import UpstreamTimeout


class Relay(ReverseProxy):
    """
    The reverse proxy to other workers, by the private Unix sockets of their slots.

    Relayed requests have no upstream timeout; `--request-timeout` applies to clients'
    connections here, and in the worker that serves the request.

    :param reactor: the worker's reactor.
    :param private: the path of this slot's private socket; the sockets of the other
        slots are in the same folder.
    :param trusted: the trusted proxies, which determine a client's address.
    :ivar relayed: the number of requests relayed so far.
    """

    def __init__(self, reactor: Any, private: str, trusted: TrustedProxies) -> None:
        super().__init__(trusted)
        self.relayed = 0
        self._reactor = reactor
        self._folder = Path(private).parent
        self._timeout = UpstreamTimeout(reactor, MAX_SECONDS)
        self._stream_drain = StreamDrain(reactor)
        self._upstreams: dict[int, Upstream] = {}
        self._takers: dict[int, Callable[[Exchange], None]] = {}

    def to(self, slot: int) -> Callable[[Exchange], None]:
        """Return the function that relays a request to the worker of a slot."""
        if slot not in self._takers:
            self._takers[slot] = lambda exchange: self._forward(slot, exchange)
        return self._takers[slot]

    def drain(self, spread: float = 0.0) -> None:
        """
        End the responses that would not end by themselves, such as event streams.

        :param spread: the seconds over which they are ended.
        """
        self._stream_drain.drain(spread)

    def close(self) -> None:
        """Abort the requests under way."""
        super().close()
        self._timeout.stop()

    def _forward(self, slot: int, exchange: Exchange) -> None:
        self.relayed += 1
        upstream = self._upstreams.get(slot) or self._open(slot)
        # No wait for readiness: the socket exists even if no worker fills the slot.
        self._proxy(upstream, _head(exchange), exchange, self._reactor.seconds())

    def _open(self, slot: int) -> Upstream:
        agent = agent_beside(
            self._reactor, str(self._folder / f"{private_name(slot)}.sock")
        )
        readiness = Readiness(self._reactor)
        readiness.set(True)
        upstream = Upstream(
            f"worker {slot}",
            self._reactor,
            ForwardingClient(agent, self._reactor),
            readiness,
            self._timeout,
            self._stream_drain,
            agent.turn_end,
        )
        self._upstreams[slot] = upstream
        return upstream


def _head(exchange: Exchange) -> RequestHead:
    # The client's origin goes before all fields that the client has sent, and the
    # framing after them. Fields that Connection names are kept, so that an application
    # gets the same request whether it was relayed or not.
    origin = exchange.origin
    fields = [
        origin.field,
        *with_host(without_hop_by_hop(exchange.fields), origin),
    ]
    if exchange.wants_upgrade:
        fields += UPGRADE_FIELDS
    return RequestHead(exchange.method, exchange.target, fields)
