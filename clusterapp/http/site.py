"""HTTP server site: the settings, counters and timeouts shared by its connections."""

import heapq
from collections.abc import Callable, Sequence
from contextvars import copy_context
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.python.failure import Failure
from twisted.web import server
from twisted.web.resource import IResource

from clusterapp.guards import guarded
from clusterapp.http.access_log.access_record import Recorder
from clusterapp.http.application.request import ClusterRequest
from clusterapp.http.application.routable import Dispatcher
from clusterapp.http.connection_limits import Limits
from clusterapp.http.exchange.connection_exchange import StreamedExchange
from clusterapp.http.exchange.exchange import Forward
from clusterapp.http.exchange.session_affinity import SessionAffinity
from clusterapp.http.server.deadlines import CLOSING, Phase
from clusterapp.http.server.drain_policy import DrainPolicy, HandOver
from clusterapp.http.server.load_counters import LoadCounters
from clusterapp.http.server.prepared_response import Answer
from clusterapp.http.server.server_interfaces import Channel, Message, ServerConnection
from clusterapp.http.server.trusted_peers import NoProxies, Proxies
from clusterapp.http.syntax.request_head import Head, HeadReader
from clusterapp.http.syntax.status_line import common_lines
from clusterapp.http.transports.twisted_adapter import TwistedAdapter

if TYPE_CHECKING:
    from clusterapp.channel.request_record import RequestRecord

#: The fraction of all connections (one in 16) that is closed at once when there are too
#: many: finding the idle ones costs a pass over all of them each time.
_PART_CLOSED = 16

#: Seconds between two checks of the connections' timeouts.
_SWEEP_SECONDS = 1.0


#: The order in which connections are closed where file descriptors are scarce.
_OF_LEAST_USE: Final[Sequence[Callable[[ServerConnection], bool]]] = (
    lambda connection: connection.has_been_read,
    lambda connection: connection.deadlines.phase == Phase.REQUEST,
    lambda connection: connection.deadlines.phase == Phase.HEAD,
    lambda connection: connection.is_slow,
    lambda connection: connection.deadlines.phase in CLOSING,
)


class ClusterSite(server.Site):
    """
    HTTP server site: dispatches the requests of its connections.

    A request goes, in this order, to a prepared response, to a forwarder, to the
    worker that session affinity chooses for its client, and to the root resource.

    :param clock: the reactor, for the time and timers.
    :param root: the resource for requests that no other part serves.
    :param forward: returns the handler of a request that is streamed elsewhere before
        its body is read, or the route of one that is not; see `Forward`.
    :param answer: returns the prepared response to a request, or None.
    :param limits: the limits of the connections.
    :param recorder: the writer of the access log.
    :param proxies: returns a request's client address; by default, the peer's.
    :param affinity: session affinity, which chooses the requests that other workers
        serve; None if this process serves all.
    :param counters: the load counters, which other processes read.
    :param failure_page: returns an HTML page for the client on why a resource failed;
        None if clients get no details.
    """

    noisy = False
    #: Whether :meth:`drain` has been called, and the policy for closing since then.
    draining = False
    drain_policy = DrainPolicy(0.0, None)
    #: Whether log events name the request during which they are logged.
    names_requests = True
    #: The number of requests answered so far.
    requests = 0

    def __init__(  # noqa: PLR0913 - one parameter for each part of the site
        self,
        clock: IReactorTime,
        root: IResource,
        forward: Forward | None = None,
        *,
        answer: Answer | None = None,
        limits: Limits | None = None,
        recorder: Recorder | None = None,
        proxies: Proxies | None = None,
        affinity: SessionAffinity | None = None,
        counters: LoadCounters | None = None,
        failure_page: Callable[[Failure], bytes] | None = None,
    ) -> None:
        super().__init__(root, ClusterRequest, reactor=clock)
        limits = limits or Limits()
        self.clock = clock
        self.limits = limits
        self.counters = counters or LoadCounters()
        self.answer = answer
        self.recorder = recorder
        self.proxies = proxies or NoProxies()
        self.failure_page = failure_page
        self.heads = HeadReader(limits)
        #: The number of connections whose input waits for the next event-loop turn.
        self.waiting = 0
        #: The record of the requests that are being served, or None.
        self.request_record: RequestRecord | None = None
        #: The context that is copied for each request's context variables.
        self.context = copy_context()
        #: The root resource, if it is a `Dispatcher`, which has no children and no
        #: encoders and so gets every request; else None.
        self.dispatcher = root if isinstance(root, Dispatcher) else None
        #: The current time, to within a second or two, while there are connections.
        self.now = clock.seconds()
        #: The header lines that every response has, made at the time of `now`.
        self.lines = common_lines()
        self._forward = forward
        self._affinity = affinity
        self._connections: set[ServerConnection] = set()
        self._sweep: IDelayedCall | None = None
        self._drained: list[Deferred[None]] = []

    @property
    def connections(self) -> int:
        """The number of open connections."""
        return len(self._connections)

    @property
    def active(self) -> int:
        """The number of requests that are being answered."""
        return sum(connection.active for connection in self._connections)

    def under_way(self) -> list[tuple[bytes, bytes, str | None, float]]:
        """
        Return the requests that are being answered; may be called from another thread.

        :return: method, target, client and age in seconds of each request.
        """
        # Copying the set to a tuple is atomic in the interpreter.
        found = [connection.under_way() for connection in tuple(self._connections)]
        return [each for each in found if each is not None]

    def buildProtocol(self, addr: IAddress | None) -> Any:  # noqa: ARG002
        """Return a new connection for one of Twisted's transports."""
        return TwistedAdapter(self)

    def drain(
        self, *, spread: float = 0.0, hand_over: HandOver | None = None
    ) -> Deferred[None]:
        """
        Start to drain: close every connection without aborting any request.

        Responses announce that their connections close. Idle connections are
        transferred to another process, or closed; WebSockets are closed, and event
        streams ended.

        :param spread: the seconds over which closing is spread.
        :param hand_over: offers a connection to another process, which then serves it;
            the socket that it gets stays owned by this process.
        :return: a Deferred that fires when the last connection is closed.
        """
        if not self.draining:
            self.draining = True
            self.drain_policy = DrainPolicy(spread, hand_over, self.clock)
        done: Deferred[None] = Deferred()
        self._drained.append(done)
        for connection in list(self._connections):
            connection.drain()
        self._check_drained()
        return done

    def emptied(self) -> Deferred[None]:
        """Return a Deferred that fires when a draining site has no connection left."""
        done: Deferred[None] = Deferred()
        self._drained.append(done)
        self._check_drained()
        return done

    def abort(self) -> None:
        """Abort every connection whose response is not completely written."""
        for connection in list(self._connections):
            connection.end_late()

    def startFactory(self) -> None:
        """Do nothing: `HTTPFactory`'s access log would wake up every second."""

    def acceptableProtocols(self) -> list[bytes]:
        """Return the protocols offered by ALPN over TLS."""
        return [b"http/1.1"]

    def close_idle(self) -> int:
        """
        Close the connections that are of least use, to free file descriptors.

        These are, in this order: connections that wait only for the peer to close;
        idle ones; those whose request head is incomplete; those whose body arrives
        below the minimum rate; closed ones whose client has not read the rest yet.
        Of the first kind found, those in that state for the longest are closed.
        Connections from other workers are not among them: a request of a client may be
        on its way.

        :return: the number of connections closed, up to one in 16 of all.
        """
        count = max(1, len(self._connections) // _PART_CLOSED)
        for kind in _OF_LEAST_USE:
            found = [
                each for each in self._connections if not each.is_relay and kind(each)
            ]
            if found:
                # Connections of one kind have the same timeout, so the order of
                # their deadlines is that of entering the state.
                longest = heapq.nsmallest(count, found, attrgetter("deadlines.at"))
                for connection in longest:
                    connection.end_early()
                return len(longest)
        return 0

    # Called by the connections.

    def opened(self, connection: ServerConnection) -> None:
        """Called when a connection is opened."""
        known = self._connections
        if connection not in known:  # this is called again when its transport is made
            known.add(connection)
            if not connection.is_relay:
                self.counters.opened()
        if self._sweep is None:
            self.now = self.clock.seconds()
            self.lines = common_lines()
            self._sweep = self.clock.callLater(_SWEEP_SECONDS, self._look_at_times)

    def closed(self, connection: ServerConnection) -> None:
        """Called when a connection is closed."""
        known = self._connections
        if connection in known:
            known.remove(connection)
            if not connection.is_relay:
                self.counters.closed()
        self._check_drained()

    def message(self, head: Head, connection: Channel) -> Message:
        """Return a new message, which will answer the request."""
        found_route = None
        if self._forward is not None:
            found = self._forward(head)
            if callable(found):
                return StreamedExchange(head, connection, found)
            found_route = found
        extra_header_lines = b""
        if (
            self._affinity is not None
            and connection.listener in self._affinity.listeners
        ):
            take, extra_header_lines = self._affinity.receive(head, connection)
            if take is not None:
                return StreamedExchange(head, connection, take)
        request = ClusterRequest(connection, head)
        if found_route is not None:
            request.found_route = found_route
        if extra_header_lines:
            request.extra_header_lines = extra_header_lines
        dispatcher = self.dispatcher if head.length != 0 else None
        if dispatcher is not None and dispatcher.wants_stream(request):
            request.stream()
        return request

    @guarded("check the deadlines of connections")
    def _look_at_times(self) -> None:
        # The timer is stopped here and not when the last connection closes, since the
        # next one may be opened at once.
        if not self._connections:
            self._sweep = None
            return
        now = self.now = self.clock.seconds()
        self.lines = common_lines()
        self._sweep = self.clock.callLater(_SWEEP_SECONDS, self._look_at_times)
        for connection in [
            each for each in self._connections if each.deadlines.are_over(now)
        ]:
            connection.overdue(now)

    def _check_drained(self) -> None:
        if self.draining and not self._connections:
            if self._sweep is not None:
                self._sweep.cancel()
                self._sweep = None
            drained, self._drained = self._drained, []
            for done in drained:
                done.callback(None)
