"""The hosting of a site: start hooks, accepting, drain and stop hooks."""

import heapq
import socket
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from operator import attrgetter
from typing import Any, Protocol

from twisted.internet.defer import (
    CancelledError,
    Deferred,
    TimeoutError,  # noqa: A004
)
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.ssl import CertificateOptions
from twisted.logger import Logger
from twisted.web.pages import notFound

from clusterapp.channel.inspection import UnderWay
from clusterapp.channel.request_record import RequestRecord
from clusterapp.http.connection.peer_kind import PeerKind
from clusterapp.http.connection_limits import Limits
from clusterapp.http.server.drain_policy import HandOver
from clusterapp.http.site import ClusterSite
from clusterapp.http.syntax.client_origin import OWN_BYTES, OWN_FIELDS
from clusterapp.http.syntax.request_head import HeadReader
from clusterapp.http.tls.certificates import certificates_of
from clusterapp.http.tls.handshake_limits import BoundedTLSFactory
from clusterapp.http.transports.twisted_adapter import TwistedAdapter
from clusterapp.http.upstream.core_agent import IDLE_TIMEOUT
from clusterapp.http.upstream.upstream_tls import server_options
from clusterapp.listening.accept import Acceptor, ConnectionAdopter
from clusterapp.listening.descriptor_pressure import Descriptors
from clusterapp.settings.listen import TlsListen
from clusterapp.settings.model import Settings
from clusterapp.system.turn_end import TurnEnd
from clusterapp.web.clients.trusted_proxies import TrustedInCore
from clusterapp.web.cluster_membership import core_agent
from clusterapp.web.hooks import Hooks
from clusterapp.web.loading import LoadedApplication

_NO_CORE = notFound(message="This cluster has no core.")

#: The name of the core's Unix socket among the sockets that a child inherits.
CORE_SOCKET = "core"

#: The keep-alive timeout of a core in seconds: twice the worker's, so that no request
#: is sent while the core closes the connection.
CORE_KEEPALIVE = 2 * IDLE_TIMEOUT

#: The fraction of the idle connections (one in 4) that workers are asked to close at
#: once when there are too many.
_PART_CLOSED = 4

#: The seconds to wait for the ends of connections that have been aborted, which takes
#: some turns of the event loop.
_ABORT_SECONDS = 0.5

#: The seconds that a connection to the core may take until its first request, TLS
#: handshake included: workers connect only when they have a request.
CORE_FIRST_REQUEST = 10.0


class DrainableSite(Protocol):
    """
    A site that can drain, with the statistics of its requests.

    :ivar request_record: the shared memory that has the open requests, if any.
    """

    clock: IReactorTime
    request_record: RequestRecord | None

    @property
    def requests(self) -> int:
        """The number of requests answered so far."""

    @property
    def active(self) -> int:
        """The number of requests under way."""

    def under_way(self) -> Sequence[UnderWay]:
        """Return the open requests; may be called by another thread."""

    def drain(self, *, spread: float, hand_over: HandOver | None) -> Deferred[None]:
        """Start draining, and return a Deferred that fires with the last close."""

    def emptied(self) -> Deferred[None]:
        """Return a Deferred that fires when no connection is left."""

    def abort(self) -> None:
        """Abort all connections."""


class ConnectionSource(Protocol):
    """A listener, or any other source of connections."""

    def start(self) -> None:
        """Start accepting connections."""

    def stop(self) -> None:
        """Stop accepting connections."""


class CoreSite(ClusterSite):
    """The site of the core, whose clients are workers; see `ClusterSite`."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.heads = HeadReader(self.limits, of_workers=True)
        self._turn_end = TurnEnd(partial(self.clock.callLater, 0))

    def buildProtocol(self, addr: IAddress | None) -> Any:  # noqa: ARG002
        """Return the protocol of a connection on one of Twisted's transports."""
        return TwistedAdapter(self, PeerKind.AGENT, self._turn_end)

    def close_idle(self) -> int:
        """
        Ask workers to close connections, to free file descriptors.

        These are some of those that have been idle longest. No other one is closed,
        since it carries requests of many clients.

        :return: the number of connections that workers were asked to close.
        """
        idle = [
            connection
            for connection in self._connections
            if connection.can_be_asked_to_close
        ]
        count = -(-len(idle) // _PART_CLOSED)
        longest = heapq.nsmallest(count, idle, attrgetter("deadlines.at"))
        for connection in longest:
            connection.ask_to_close()
        return len(longest)


class Host:
    """
    The life of a site and its listeners, a worker's or the core's, with its hooks.

    :param site: the site.
    :param hooks: the start and stop hooks of the application.
    :param sources: the sources of connections: listeners, the receiver of queues.
    """

    _log = Logger()

    def __init__(
        self, site: DrainableSite, hooks: Hooks, sources: Iterable[ConnectionSource]
    ) -> None:
        self.site = site
        self._hooks = hooks
        self._sources = tuple(sources)

    async def prepare(self) -> None:
        """
        Run the start hooks.

        :raise StartHookError: if a hook fails.
        """
        await self._hooks.run_start()

    def accept(self) -> None:
        """Start accepting connections on all listeners."""
        for listener in self._sources:
            listener.start()

    async def drain(
        self, *, spread: float = 0.0, hand_over: HandOver | None = None
    ) -> None:
        """
        Stop accepting, finish open requests, close connections and run the stop hooks.

        Cancellation aborts the connections that are left; the stop hooks still run.

        :param spread: the seconds over which idle connections and endless responses
            are ended.
        :param hand_over: offers an idle connection to another process; None if idle
            connections are closed.
        """
        self.refuse()
        try:
            await self.site.drain(spread=spread, hand_over=hand_over)
        except CancelledError:
            self._log.warn("the time to drain is over: aborting what is not finished")
            self.site.abort()
            # The loop reports their ends in its next turns; without that, the access
            # log would not have what was broken off.
            with suppress(TimeoutError):
                await self.site.emptied().addTimeout(_ABORT_SECONDS, self.site.clock)
        await self._hooks.run_stop()

    def refuse(self) -> None:
        """Stop accepting connections on all listeners."""
        for listener in self._sources:
            listener.stop()


def core_host(
    reactor: Any,
    loaded: LoadedApplication | None,
    settings: Settings,
    sockets: Mapping[str, socket.socket],
) -> Host:
    """
    Return the host of the core, in the master or in a child process.

    :param reactor: the reactor of this process.
    :param loaded: the application; None if it has neither routes nor hooks for a core.
    :param settings: the settings; their core listeners are served over TLS.
    :param sockets: the core's Unix socket and the sockets of its TLS listeners, by
        name.
    """
    # Other clusters may connect to the core even if this application has none.
    root = (loaded and loaded.core_resource) or _NO_CORE
    # No bounds for bodies and requests per connection: workers have bounded what
    # clients send, and they keep their connections.
    limits = Limits(
        body=None,
        form_fields=settings.max_form_fields,
        form_size=settings.max_form_size,
        requests=None,
        keepalive_timeout=CORE_KEEPALIVE,
        first_request_timeout=CORE_FIRST_REQUEST,
        message=settings.websocket_max_size,
    ).of_forwarded()
    # A head that a worker accepts from its client must be accepted here, too, with the
    # fields that the worker adds.
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
    )
    factories: dict[str, Any] = {CORE_SOCKET: site}
    for spec in settings.core_listeners:
        factories[str(spec)] = BoundedTLSFactory(_options(spec), site, reactor)
    room = Descriptors(reactor, site.close_idle)
    acceptors = [
        Acceptor(reactor, sockets[name], ConnectionAdopter(reactor, each), room=room)
        for name, each in factories.items()
    ]
    return Host(site, loaded.core_hooks if loaded else Hooks(), acceptors)


def check_tls(reactor: Any, settings: Settings) -> None:
    """
    Check that the TLS files can be loaded, as the processes that serve TLS do.

    :param reactor: the reactor of this process.
    :param settings: the settings that name the files.
    :raise SettingsError: a file cannot be used; the message names it.
    """
    certificates_of(settings)
    for spec in settings.core_listeners:
        _options(spec)
    if settings.core_is_remote:
        core_agent(reactor, settings, None)


def _options(spec: TlsListen) -> CertificateOptions:
    return server_options(certificate=spec.certificate, key=spec.key, ca=spec.ca)
