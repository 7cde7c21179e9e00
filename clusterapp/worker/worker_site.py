"""The site of a child process: a worker's routes and proxies, or the core's routes."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from clusterapp.channel.bootstrap import PRIVATE, QUEUE, SCOREBOARD, Bootstrap
from clusterapp.channel.stickiness import Stickiness
from clusterapp.http.access_log.access_record import Recorder
from clusterapp.http.connection_limits import Limits
from clusterapp.http.exchange.exchange import Exchange, Forward, FoundRoute
from clusterapp.http.server.load_counters import LoadCounters
from clusterapp.http.site import ClusterSite
from clusterapp.http.syntax.request_head import Head
from clusterapp.http.tls.certificates import certificates_of
from clusterapp.http.upstream.core_agent import CoreAgent
from clusterapp.listening.scoreboard import Scoreboard
from clusterapp.settings.model import Settings
from clusterapp.system.descriptors import adopt_inherited
from clusterapp.web.clients.trusted_proxies import TrustedProxies
from clusterapp.web.cluster_membership import Membership, core_agent, core_client
from clusterapp.web.hosting import Host, core_host
from clusterapp.web.loading import LoadedApplication
from clusterapp.web.routing import Routes
from clusterapp.worker.loop_readers import LoopReaders
from clusterapp.worker.proxy.relay import Relay
from clusterapp.worker.proxy.relay_affinity import SlotAffinity
from clusterapp.worker.proxy.reverse_proxy import CoreProxy
from clusterapp.worker.worker_listeners import WorkerListeners


@dataclass(frozen=True)
class Served:
    """
    The parts of a worker that serves.

    :param proxy: the reverse proxy to the core.
    :param relay: the reverse proxy to other workers.
    :param affinity: the session affinity, which chooses what is relayed.
    :param site: the HTTP site, which has the open requests and their number.
    :param listeners: the listeners.
    :param counters: the load counters, which are written to the scoreboard.
    """

    proxy: CoreProxy
    relay: Relay
    affinity: SlotAffinity
    site: ClusterSite
    listeners: WorkerListeners
    counters: LoadCounters


def serve(
    reactor: Any,
    bootstrap: Bootstrap,
    settings: Settings,
    loaded: LoadedApplication,
    recorder: Recorder | None = None,
) -> tuple[Host, Served | None]:
    """
    Build the site of a child, without accepting connections yet.

    :param reactor: the child's reactor.
    :param bootstrap: the role, slot and sockets of the child.
    :param settings: the settings.
    :param loaded: the loaded application.
    :param recorder: the access log, None if there is none.
    :return: the host, which serves and drains the site; and the parts of a worker,
        None in the core.
    """
    agent = core_agent(reactor, settings, bootstrap.core_socket)
    loaded.bind(
        Membership(
            bootstrap.role, bootstrap.slot, bootstrap.generation, core_client(agent)
        )
    )
    if bootstrap.role == "core":
        sockets = {
            name: adopt_inherited(each) for name, each in bootstrap.sockets.items()
        }
        return core_host(reactor, loaded, settings, sockets), None
    served = _worker(reactor, bootstrap, settings, loaded, recorder, agent)
    return Host(served.site, loaded.hooks, [served.listeners]), served


def _worker(  # noqa: PLR0913, PLR0917 - as `serve`
    reactor: Any,
    bootstrap: Bootstrap,
    settings: Settings,
    loaded: LoadedApplication,
    recorder: Recorder | None,
    agent: CoreAgent,
) -> Served:
    inherited = dict(bootstrap.sockets)
    board = Scoreboard(inherited[SCOREBOARD])
    os.close(inherited.pop(SCOREBOARD))
    sockets = {name: adopt_inherited(each) for name, each in inherited.items()}
    trusted = TrustedProxies(settings.trusted_proxies)
    proxy = CoreProxy(reactor, agent, trusted=trusted, timeout=settings.core_timeout)
    relay = Relay(reactor, sockets[PRIVATE].getsockname(), trusted)
    affinity = SlotAffinity(bootstrap.slot, relay, trusted)
    affinity.update_affinity(Stickiness.from_mapping(bootstrap.stickiness))
    row = board.row(bootstrap.row)
    counters = LoadCounters(row)
    site = ClusterSite(
        reactor,
        loaded.resource,
        _forward(loaded.routes, proxy),
        answer=loaded.answer,
        limits=Limits(
            body=settings.max_body,
            message=settings.websocket_max_size,
            form_fields=settings.max_form_fields,
            form_size=settings.max_form_size,
            header_timeout=settings.header_timeout,
            keepalive_timeout=settings.keepalive_timeout,
            request_timeout=settings.request_timeout,
        ),
        recorder=recorder,
        proxies=trusted,
        affinity=affinity,
        counters=counters,
        failure_page=loaded.failure_page if settings.reload else None,
    )
    # Every worker's reactor is an asyncio reactor on this event loop.
    readers = LoopReaders(asyncio.get_event_loop(), reactor)
    portion = partial(board.portion, bootstrap.row)
    listeners = WorkerListeners(readers, site, row, portion, trusted.trusts_peer)
    listeners.name(bootstrap.listeners, certificates_of(settings))
    listeners.receive(sockets.pop(QUEUE))
    for name, each in sockets.items():
        listeners.accept(name, each, shared=name in bootstrap.shared)
    return Served(proxy, relay, affinity, site, listeners, counters)


def _forward(routes: Routes, proxy: CoreProxy) -> Forward | None:
    if not routes.has_core:
        return None

    def forward(head: Head) -> Callable[[Exchange], object] | FoundRoute | None:
        side, route = routes.find(head)
        return proxy.forward if side == "core" else route

    return forward
