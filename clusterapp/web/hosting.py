"""Serving a site between its application's start and stop hooks."""

import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.ssl import CertificateOptions
from twisted.logger import Logger
from twisted.web.pages import notFound

from clusterapp.channel.inspection import UnderWay
from clusterapp.channel.request_record import RequestRecord
from clusterapp.http.limits import Limits
from clusterapp.http.server.drain_policy import HandOver
from clusterapp.http.server.site import ClusterSite
from clusterapp.http.syntax.client_origin import OWN_BYTES, OWN_FIELDS
from clusterapp.http.syntax.request_head import HeadReader
from clusterapp.http.tls.certificates import certificates_of
from clusterapp.http.tls.handshake_limits import BoundedTLSFactory
from clusterapp.http.transports.core_connection import ForwardedConnection
from clusterapp.http.upstream.core_agent import IDLE_TIMEOUT
from clusterapp.http.upstream.upstream_tls import server_options
from clusterapp.listening.accept import Acceptor, ConnectionAdopter
from clusterapp.settings.listen import TlsListen
from clusterapp.settings.model import Settings
from clusterapp.web.cluster_membership import core_agent
from clusterapp.web.hooks import Hooks
from clusterapp.web.loading import Loaded
from clusterapp.web.trusted_proxies import TrustedInCore

_NO_CORE = notFound(message="This cluster has no core.")

#: The name of the core's Unix socket among those that a child inherits.
CORE_SOCKET = "core"

#: Seconds that a core keeps a worker's idle connection: twice what the worker does,
#: so that no request crosses a close on its way.
CORE_KEEPALIVE = 2 * IDLE_TIMEOUT

#: Seconds that a connection to the core may take to bring its first request, a TLS
#: handshake included: workers connect when they have one.
CORE_FIRST_REQUEST = 10.0


class Site(Protocol):
    """
    A site that can finish what it has, and tells of it.

    :ivar request_record: where requests are noted while they are served, if anywhere.
    """

    request_record: RequestRecord | None

    @property
    def requests(self) -> int:
        """How many it has answered so far."""

    @property
    def active(self) -> int:
        """How many it is answering."""

    def under_way(self) -> Sequence[UnderWay]:
        """Tell the requests that are being answered; another thread may ask."""

    def drain(self, *, spread: float, hand_over: HandOver | None) -> Deferred[None]:
        """Fire when the last connection is gone."""

    def abort(self) -> None:
        """Break every connection off."""


class Door(Protocol):
    """A way for connections to come in."""

    def start(self) -> None:
        """Take them."""

    def stop(self) -> None:
        """Take no more."""


class CoreSite(ClusterSite):
    """A site of which workers ask what their clients want; see `ClusterSite`."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.heads = HeadReader(self.limits, of_workers=True)

    def buildProtocol(self, addr: IAddress | None) -> Any:  # noqa: ARG002
        """Make a connection for one of Twisted's transports."""
        return ForwardedConnection(self)


class Host:
    """
    Serve one site on listening sockets: a worker's, or the core's.

    :ivar site: the site.
    """

    _log = Logger()

    def __init__(self, site: Site, hooks: Hooks, doors: Iterable[Door]) -> None:
        self.site = site
        self._hooks = hooks
        self._doors = tuple(doors)

    async def prepare(self) -> None:
        """Run the start hooks; what they raise is raised."""
        await self._hooks.run_start()

    def accept(self) -> None:
        """Take connections."""
        for door in self._doors:
            door.start()

    async def drain(
        self, *, spread: float = 0.0, hand_over: HandOver | None = None
    ) -> None:
        """
        Take no more connections, finish those there are, run the stop hooks.

        Cancelling it breaks off what is left; the stop hooks run all the same.

        :param spread: the seconds over which what is idle or endless comes to an end.
        :param hand_over: lets another process serve an idle connection.
        """
        self.refuse()
        try:
            await self.site.drain(spread=spread, hand_over=hand_over)
        except CancelledError:
            self._log.warn("the time is over: breaking off what is not finished")
            self.site.abort()
        await self._hooks.run_stop()

    def refuse(self) -> None:
        """Take no more connections."""
        for door in self._doors:
            door.stop()


def core_host(
    reactor: Any,
    loaded: Loaded | None,
    settings: Settings,
    sockets: Mapping[str, socket.socket],
) -> Host:
    """
    Host the core, in the master or in a child of its own.

    :param reactor: the reactor of this process.
    :param loaded: the application; None if there is nothing for a core to do.
    :param settings: the settings; their core listeners are served over TLS.
    :param sockets: the core's Unix socket, and those of its TLS listeners by name.
    """
    # Other clusters may come to a core that this application has no use for.
    root = (loaded and loaded.core_resource) or _NO_CORE
    # Workers have bounded what clients send, and keep their connections.
    limits = Limits(
        body=None,
        form_fields=settings.max_form_fields,
        form_size=settings.max_form_size,
        requests=None,
        keepalive_timeout=CORE_KEEPALIVE,
        first_request_timeout=CORE_FIRST_REQUEST,
        message=settings.websocket_max_size,
    ).of_forwarded()
    # What a worker takes from its client is taken here, too.
    limits = replace(
        limits,
        head=limits.head + OWN_BYTES,
        fields=limits.fields + OWN_FIELDS,
    )
    site = CoreSite(
        reactor,
        root,
        limits=limits,
        proxies=TrustedInCore(settings.trusted_proxies),
        failure_page=loaded.failure_page if loaded and settings.reload else None,
        serves_agents=True,
    )
    factories: dict[str, Any] = {CORE_SOCKET: site}
    for spec in settings.core_listeners:
        factories[str(spec)] = BoundedTLSFactory(_options(spec), site, reactor)
    return Host(
        site,
        loaded.core_hooks if loaded else Hooks(),
        [
            Acceptor(reactor, sockets[name], ConnectionAdopter(reactor, each))
            for name, each in factories.items()
        ],
    )


def check_tls(reactor: Any, settings: Settings) -> None:
    """
    Read the files that TLS needs, as the processes that serve it will.

    :param reactor: the reactor of this process.
    :param settings: the settings that name the files.
    :raise SettingsError: if one cannot be used; the text names it.
    """
    certificates_of(settings)
    for spec in settings.core_listeners:
        _options(spec)
    if settings.core_is_remote:
        core_agent(reactor, settings, None)


def _options(spec: TlsListen) -> CertificateOptions:
    return server_options(certificate=spec.certificate, key=spec.key, ca=spec.ca)
