"""What a child serves: the public side of the application, or its core."""

import asyncio
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from clusterapp.channel.bootstrap import Bootstrap
from clusterapp.http.certificates import certificates_of
from clusterapp.http.access import Recorder
from clusterapp.http.exchange import Exchange
from clusterapp.http.limits import Limits
from clusterapp.http.native import NativeServer
from clusterapp.http.site import ClusterSite
from clusterapp.listening.accept import Acceptor
from clusterapp.settings.model import Settings
from clusterapp.web.cluster import Membership, core_agent, core_client
from clusterapp.web.hosting import Host, core_host
from clusterapp.web.loading import Loaded
from clusterapp.web.proxies import TrustedProxies
from clusterapp.worker.proxy import CoreProxy


@dataclass(frozen=True)
class Served:
    """
    All that a child holds while it serves.

    :param host: serves the site, and drains it.
    :param proxy: forwards requests to the core; None in the core itself.
    :param recorder: the access log; None if there is none, and in the core.
    """

    host: Host
    proxy: CoreProxy | None
    recorder: Recorder | None = None


def serve(
    reactor: Any,
    bootstrap: Bootstrap,
    settings: Settings,
    loaded: Loaded,
    recorder: Recorder | None = None,
) -> Served:
    """
    Put together what a child serves; nothing is accepted yet.

    :param reactor: the child's reactor.
    :param bootstrap: what the child is to be.
    :param settings: the settings.
    :param loaded: the application.
    :param recorder: where answers are noted, if anywhere.
    """
    agent = core_agent(reactor, settings, bootstrap.core_socket)
    loaded.bind(
        Membership(
            bootstrap.role, bootstrap.slot, bootstrap.generation, core_client(agent)
        )
    )
    sockets = _adopt(bootstrap.sockets)
    if bootstrap.role == "core":
        return Served(core_host(reactor, loaded, settings, sockets), None)
    proxy = CoreProxy(
        reactor,
        agent,
        trusted=TrustedProxies(settings.trusted_proxies),
        timeout=settings.core_timeout,
    )
    host = _public_host(reactor, settings, loaded, proxy, sockets)
    return Served(host, proxy, recorder)


def _public_host(
    reactor: Any,
    settings: Settings,
    loaded: Loaded,
    proxy: CoreProxy,
    sockets: Mapping[str, socket.socket],
) -> Host:
    def forward(target: bytes) -> Callable[[Exchange], object] | None:
        of_core = loaded.routes.side(target.partition(b"?")[0]) == "core"
        return proxy.forward if of_core else None

    limits = Limits(
        header_timeout=settings.header_timeout,
        keepalive_timeout=settings.keepalive_timeout,
    )
    site = ClusterSite(
        reactor,
        loaded.resource,
        forward,
        limits=limits,
        failure_page=loaded.failure_page if settings.reload else None,
    )
    # Twisted's asyncio reactor, which every worker has.
    loop = asyncio.get_event_loop()
    certificates = certificates_of(settings)
    acceptors = []
    for name, listening in sockets.items():
        own = certificates.get(name.partition(" ")[2])
        server = NativeServer(loop, site, None if own is None else own.context)
        acceptors.append(Acceptor(reactor, listening, server.serve))
    return Host(site, loaded.hooks, acceptors)


def _adopt(numbers: Mapping[str, int]) -> Mapping[str, socket.socket]:
    """Make sockets of inherited descriptors; grandchildren do not inherit them."""
    sockets = {}
    for name, number in numbers.items():
        sockets[name] = socket.socket(fileno=number)
        sockets[name].set_inheritable(False)
    return sockets
