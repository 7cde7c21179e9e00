"""The reverse proxies to the core and to other workers (in a worker)."""

from http import HTTPStatus

from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from clusterapp.channel.log_events import RequestFacts
from clusterapp.errors import CoreError, CoreUnreachableError
from clusterapp.http.application.request_facts import request_facts
from clusterapp.http.exchange.exchange import Exchange
from clusterapp.http.syntax.client_origin import Origin
from clusterapp.http.syntax.message_head import RequestHead, ResponseHead, end_to_end
from clusterapp.http.upstream.core_agent import CoreAgent
from clusterapp.web.trusted_proxies import TrustedProxies
from clusterapp.worker.proxied_request import (
    UPGRADE_FIELDS,
    CoreCutError,
    CoreSlowError,
    ProxiedRequest,
    Upstream,
)
from clusterapp.worker.readiness import Readiness
from clusterapp.worker.stream_drain import StreamDrain
from clusterapp.worker.upstream_timeouts import Patience

#: What the client is told; 502 for everything else.
_STATUS = {
    CoreUnreachableError: HTTPStatus.SERVICE_UNAVAILABLE,
    CoreSlowError: HTTPStatus.GATEWAY_TIMEOUT,
}
_SORRY = {
    HTTPStatus.BAD_GATEWAY: "{whom} broke off before it answered.",
    HTTPStatus.SERVICE_UNAVAILABLE: "{whom} is not ready. Please try again.",
    HTTPStatus.GATEWAY_TIMEOUT: "{whom} did not answer in time.",
}


class ReverseProxy:
    """
    Passes requests on, and their responses back.

    :param trusted: knows who the client is when it comes through proxies.
    """

    _log = Logger()

    def __init__(self, trusted: TrustedProxies) -> None:
        self._trusted = trusted
        self._under_way: set[ProxiedRequest] = set()

    def _pass_on(
        self, way: Upstream, head: RequestHead, exchange: Exchange, until: float
    ) -> None:
        """
        Pass a request on.

        :param way: where to.
        :param head: what is sent there.
        :param until: how long one waits that nobody is there, on the clock.
        """
        passage = ProxiedRequest(way, head, exchange, until, self._ended)
        self._under_way.add(passage)
        passage.begin()
        exchange.gone.addCallback(passage.give_up)

    def close(self) -> None:
        """
        Break off what is under way.

        The agents' connections are left to who made them.
        """
        for passage in list(self._under_way):
            passage.give_up()

    def _ended(self, passage: ProxiedRequest, failure: Failure | None) -> None:
        self._under_way.discard(passage)
        if failure is not None:
            self._failed(passage.exchange, passage.whom, failure)

    def _failed(self, exchange: Exchange, whom: str, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, CoreError):
            self._report(exchange, whom, error)
            if not isinstance(error, CoreCutError):
                self._refuse(exchange, whom, error)
            return
        if not isinstance(error, CancelledError):
            self._log.failure(
                "cannot forward {request}", failure, request=self._facts(exchange)
            )
        exchange.abort()

    def _report(self, exchange: Exchange, whom: str, error: Exception) -> None:
        self._log.error(
            "{whom} failed at {request}: {error}",
            whom=whom,
            request=self._facts(exchange),
            error=error,
        )

    def _facts(self, exchange: Exchange) -> RequestFacts:
        fields = exchange.fields
        client = self._trusted.client_of(exchange.peer, fields)
        return request_facts(exchange.method, exchange.target, fields, client)

    def _refuse(self, exchange: Exchange, whom: str, error: CoreError) -> None:
        status = _STATUS.get(type(error), HTTPStatus.BAD_GATEWAY)
        sorry = _SORRY[status].format(whom=whom.capitalize())
        body = sorry.encode() + b"\n"
        fields = [
            (b"Content-Type", b"text/plain; charset=utf-8"),
            (b"Content-Length", b"%d" % len(body)),
        ]
        if status is HTTPStatus.SERVICE_UNAVAILABLE:
            fields.append((b"Retry-After", b"1"))
        exchange.respond(ResponseHead(status, status.phrase.encode(), fields), body)
        exchange.finish()


class CoreProxy(ReverseProxy):
    """
    Passes requests on to the core, and its responses back.

    :param clock: keeps the time.
    :param agent: holds the connections to the core.
    :param trusted: knows who the client is when it comes through proxies.
    :param timeout: how long the core may neither take more of a request nor
        begin to answer, in seconds.
    :param start_wait: how long a request waits for a core that is not there
        yet, in seconds.
    """

    def __init__(
        self,
        clock: IReactorTime,
        agent: CoreAgent,
        *,
        trusted: TrustedProxies,
        timeout: float,
        start_wait: float = 5.0,
    ) -> None:
        super().__init__(trusted)
        self._start_wait = start_wait
        self._way = Upstream(
            "the core",
            clock,
            agent,
            Readiness(clock),
            Patience(clock, timeout),
            StreamDrain(clock),
        )
        self._patience = timeout
        self._is_back_soon = False

    def core_ready(self, ready: bool, *, back: bool = False) -> None:
        """
        Know whether the core takes requests; at first it does not.

        :param back: whether one that does not is being replaced: it is waited for as
            long as for its answer.
        """
        self._is_back_soon = back
        self._way.readiness.set(ready)

    def forward(self, exchange: Exchange) -> None:
        """Respond to a request, whichever it is."""
        wait = self._patience if self._is_back_soon else self._start_wait
        until = self._way.clock.seconds() + wait
        self._pass_on(self._way, self._head(exchange), exchange, until)

    def drain(self, spread: float = 0.0) -> None:
        """
        End the responses that would not end by themselves.

        :param spread: the seconds over which they end.
        """
        self._way.endless.drain(spread)

    def close(self) -> None:
        """Break off what is under way."""
        super().close()
        self._way.patience.stop()

    def _head(self, exchange: Exchange) -> RequestHead:
        origin = exchange.origin
        # Hop-by-hop fields first: a client may name ours in its Connection.
        sent = with_host(end_to_end(exchange.fields), origin)
        fields = [
            origin.field,
            *self._trusted.forwarded(
                peer=origin.peer, secure=origin.secure, fields=sent
            ),
        ]
        if exchange.wants_upgrade:
            fields += UPGRADE_FIELDS
        return RequestHead(exchange.method, exchange.target, fields)


def with_host(
    fields: list[tuple[bytes, bytes]], origin: Origin
) -> list[tuple[bytes, bytes]]:
    """
    Add a Host to fields that are passed on, if there is none.

    Requests of HTTP/1.0 need not have one, and ours must (RFC 9112, section 3.2): it
    is empty then, and is taken out again where the request arrives.
    """
    if not origin.has_host:
        fields.append((b"Host", b""))
    return fields
