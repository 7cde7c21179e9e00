"""The server side of HTTP: a site, and what its connections share."""

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
from clusterapp.http.exchange.connection_exchange import StreamedExchange
from clusterapp.http.exchange.exchange import Forward
from clusterapp.http.limits import Limits
from clusterapp.http.server.connection import Connection
from clusterapp.http.server.drain_policy import DrainPolicy, HandOver
from clusterapp.http.server.load_counters import LoadCounters
from clusterapp.http.server.prepared_response import Answer
from clusterapp.http.server.reading import Message
from clusterapp.http.server.session_affinity import SessionAffinity
from clusterapp.http.server.trusted_peers import NoProxies, Proxies
from clusterapp.http.syntax.request_head import Head, HeadReader
from clusterapp.http.syntax.status_line import common_lines
from clusterapp.http.transports.twisted_connection import HostedConnection

if TYPE_CHECKING:
    from clusterapp.channel.request_record import RequestRecord

#: The part of all connections that is closed at once when there are too many: it has
#: to be found out each time which are idle.
_PART_CLOSED = 16

#: Seconds between two looks at the connections' timeouts.
_SWEEP_SECONDS = 1.0


#: The connections that are closed first where descriptors are scarce.
_OF_LEAST_USE: Final[Sequence[Callable[[Connection], bool]]] = (
    lambda connection: connection.phase == "notify",
    lambda connection: connection.lingers,
    lambda connection: connection.phase == "request",
    lambda connection: connection.phase == "head",
    lambda connection: connection.is_slow,
    lambda connection: connection.phase == "end",
)


class ClusterSite(server.Site):
    """
    A site: what its connections serve, and how.

    A request goes, in this order, to what has answers prepared, to a forwarder, to
    the worker that its client belongs to, and to the root resource.

    :param clock: the reactor; it keeps the time.
    :param root: serves what nobody else takes.
    :param forward: takes requests before their bodies are read, or does not.
    :param answer: has answers prepared, or has not.
    :param limits: the bounds of the connections.
    :param recorder: writes the access log.
    :param proxies: tells who the client is; without it, whoever is connected.
    :param visitors: knows which requests other workers are to serve; None if all are
        served here.
    :param tally: notes how many clients there are, where others see it.
    :param failure_page: describes to the client, in HTML, why a resource failed;
        None where clients are told nothing of it.
    :param serves_agents: whether all clients are other processes of a cluster, which
        close their connections when a close notice asks them to.
    """

    noisy = False
    #: Whether :meth:`drain` has been called, and how connections end since then.
    draining = False
    drain_policy = DrainPolicy(0.0, None)
    #: Whether log events name the request that the code which logs them works for.
    names_requests = True
    #: How many requests have been answered so far.
    requests = 0

    def __init__(  # noqa: PLR0913 - one for each part that it puts together
        self,
        clock: IReactorTime,
        root: IResource,
        forward: Forward | None = None,
        *,
        answer: Answer | None = None,
        limits: Limits | None = None,
        recorder: Recorder | None = None,
        proxies: Proxies | None = None,
        visitors: SessionAffinity | None = None,
        tally: LoadCounters | None = None,
        failure_page: Callable[[Failure], bytes] | None = None,
        serves_agents: bool = False,
    ) -> None:
        super().__init__(root, ClusterRequest, reactor=clock)
        limits = limits or Limits()
        self.clock = clock
        self.limits = limits
        self.tally = tally or LoadCounters()
        self.answer = answer
        self.recorder = recorder
        self.proxies = proxies or NoProxies()
        self.failure_page = failure_page
        self.serves_agents = serves_agents
        self.heads = HeadReader(limits)
        #: How many connections have input that waits for the next turn of the loop.
        self.waiting = 0
        #: Where requests are noted while they are served, if anywhere.
        self.request_record: RequestRecord | None = None
        #: What each request's own context variables begin with.
        self.context = copy_context()
        #: The root, if it neither has children nor encodes: it gets every request.
        self.dispatcher = root if isinstance(root, Dispatcher) else None
        #: The time, to within a second or two, as long as there are connections.
        self.now = clock.seconds()
        #: The fields that every response has, from the same time.
        self.lines = common_lines()
        self._forward = forward
        self._visitors = visitors
        self._connections: set[Connection] = set()
        self._sweep: IDelayedCall | None = None
        self._drained: list[Deferred[None]] = []

    @property
    def connections(self) -> int:
        """How many connections there are."""
        return len(self._connections)

    @property
    def active(self) -> int:
        """How many requests are being answered."""
        return sum(connection.active for connection in self._connections)

    def under_way(self) -> list[tuple[bytes, bytes, str | None, float]]:
        """
        Tell the requests that are being answered; another thread may ask.

        :return: method, target, client, and for how many seconds.
        """
        # The copy is made in one step of the interpreter.
        found = [connection.under_way() for connection in tuple(self._connections)]
        return [each for each in found if each is not None]

    def buildProtocol(self, addr: IAddress | None) -> Any:  # noqa: ARG002
        """Make a connection for one of Twisted's transports."""
        return HostedConnection(self)

    def drain(
        self, *, spread: float = 0.0, hand_over: HandOver | None = None
    ) -> Deferred[None]:
        """
        End every connection, without breaking any request off.

        Responses announce that their connections close. What is idle is given to
        another process, or closed; WebSockets are closed, and event streams end.

        :param spread: the seconds over which that is spread.
        :param hand_over: lets another process serve a connection, which is not to
            be closed then; it gets a socket that stays ours.
        :return: fires when the last connection is gone.
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

    def abort(self) -> None:
        """Break every connection off."""
        for connection in list(self._connections):
            connection.abortConnection()

    def startFactory(self) -> None:
        """Start no access log: `HTTPFactory`'s would wake up every second."""

    def acceptableProtocols(self) -> list[bytes]:
        """Name what is spoken over TLS."""
        return [b"http/1.1"]

    def close_idle(self) -> int:
        """
        Close the connections that are of least use, to make room for others.

        These are such as have ended but for their clients' side; then idle ones; then
        those whose heads are still coming; then those whose bodies come more slowly
        than they may; then closed ones whose clients have yet to take the rest. Of
        each kind, those that have been so longest are closed.

        :return: how many; about one in 16 of all connections.
        """
        count = max(1, len(self._connections) // _PART_CLOSED)
        for kind in _OF_LEAST_USE:
            found = [each for each in self._connections if kind(each)]
            if found:
                # The deadline of each is as far from when it became so.
                longest = heapq.nsmallest(count, found, attrgetter("deadline"))
                for connection in longest:
                    connection.end_early()
                return len(longest)
        return 0

    # What the connections call.

    def opened(self, connection: Connection) -> None:
        """Know of a new connection."""
        known = self._connections
        if connection not in known:  # it says so once more when its transport is made
            known.add(connection)
            if connection.of_client:
                self.tally.opened()
        if self._sweep is None:
            self.now = self.clock.seconds()
            self.lines = common_lines()
            self._sweep = self.clock.callLater(_SWEEP_SECONDS, self._look_at_times)

    def closed(self, connection: Connection) -> None:
        """Know that a connection is gone."""
        known = self._connections
        if connection in known:
            known.remove(connection)
            if connection.of_client:
                self.tally.closed()
        self._check_drained()

    def message(self, head: Head, connection: Connection) -> Message:
        """Make what will answer a request."""
        if self._forward is not None:
            take = self._forward(head.target)
            if take is not None:
                return StreamedExchange(head, connection, take)
        extra_header_lines = b""
        if self._visitors is not None and connection.door in self._visitors.doors:
            take, extra_header_lines = self._visitors.receive(head, connection)
            if take is not None:
                return StreamedExchange(head, connection, take)
        request = ClusterRequest(connection, head)
        if extra_header_lines:
            request.extra_header_lines = extra_header_lines
        if head.length != 0 and self._streams(head):
            request.stream()
        return request

    def _streams(self, head: Head) -> bool:
        """Tell whether the handler of a request takes its body as a stream."""
        dispatcher = self.dispatcher
        path = head.path_text
        return (
            dispatcher is not None
            and path is not None
            and dispatcher.wants_stream(head.method, path)
        )

    @guarded("look at the times of connections")
    def _look_at_times(self) -> None:
        # Not when the last connection closes: the next may come at once.
        if not self._connections:
            self._sweep = None
            return
        now = self.now = self.clock.seconds()
        self.lines = common_lines()
        self._sweep = self.clock.callLater(_SWEEP_SECONDS, self._look_at_times)
        for connection in [
            each for each in self._connections if min(each.deadline, each.stall) <= now
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
