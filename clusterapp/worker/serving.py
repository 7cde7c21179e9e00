"""What a child serves: the public side of the application, or its core."""

import asyncio
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from clusterapp.channel.bootstrap import Bootstrap
from clusterapp.http.access import Recorder
from clusterapp.http.certificates import certificates_of
from clusterapp.http.exchange import Exchange, Forward
from clusterapp.http.limits import Limits
from clusterapp.http.native_server import NativeServer
from clusterapp.http.site import ClusterSite
from clusterapp.listening.accept import Acceptor
from clusterapp.settings.model import Settings
from clusterapp.web.cluster import Membership, core_agent, core_client
from clusterapp.web.hosting import Host, core_host
from clusterapp.web.loading import Loaded
from clusterapp.web.proxies import TrustedProxies
from clusterapp.web.routing import Routes
from clusterapp.worker.loop import LoopReaders
from clusterapp.worker.proxy import CoreProxy


@dataclass(frozen=True)
class Served:
    """
    All that a child holds while it serves.

    :param host: serves the site, and drains it.
    :param proxy: forwards requests to the core; None in the core itself.
    :param site: tells what a worker has under way; None in the core.
    :param adopt: serves a connection that another worker has accepted; None in the
        core.
    """

    host: Host
    proxy: CoreProxy | None
    site: ClusterSite | None
    adopt: Callable[[socket.socket], None] | None


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
        return Served(core_host(reactor, loaded, settings, sockets), None, None, None)
    trusted = TrustedProxies(settings.trusted_proxies)
    proxy = CoreProxy(reactor, agent, trusted=trusted, timeout=settings.core_timeout)
    site = ClusterSite(
        reactor,
        loaded.resource,
        _forward(loaded.routes, proxy),
        answer=loaded.answer,
        limits=Limits(
            body=settings.max_body,
            header_timeout=settings.header_timeout,
            keepalive_timeout=settings.keepalive_timeout,
            request_timeout=settings.request_timeout,
        ),
        recorder=recorder,
        client_of=trusted.client_of,
        failure_page=loaded.failure_page if settings.reload else None,
    )
    host = Host(site, loaded.hooks, _acceptors(reactor, settings, site, sockets))
    # Those with TLS stay where they are.
    adopt = NativeServer(asyncio.get_event_loop(), site).adopt
    return Served(host, proxy, site, adopt)


def _forward(routes: Routes, proxy: CoreProxy) -> Forward:
    def forward(target: bytes) -> Callable[[Exchange], object] | None:
        of_core = routes.side(target.partition(b"?")[0]) == "core"
        return proxy.forward if of_core else None

    return forward


def _acceptors(
    reactor: Any,
    settings: Settings,
    site: ClusterSite,
    sockets: Mapping[str, socket.socket],
) -> Iterator[Acceptor]:
    # Twisted's asyncio reactor, which every worker has, runs on it.
    loop = asyncio.get_event_loop()
    readers = LoopReaders(loop, reactor)
    certificates = certificates_of(settings)
    for name, listening in sockets.items():
        # The name of a listener is its number and its specification.
        own = certificates.get(name.partition(" ")[2])
        server = NativeServer(loop, site, None if own is None else own.context)
        yield Acceptor(readers, listening, server.serve)


def _adopt(numbers: Mapping[str, int]) -> Mapping[str, socket.socket]:
    """Make sockets of inherited descriptors; grandchildren do not inherit them."""
    sockets = {}
    for name, number in numbers.items():
        sockets[name] = socket.socket(fileno=number)
        sockets[name].set_inheritable(False)
    return sockets
