"""The reverse proxies to the core and to other workers (in a worker)."""

from http import HTTPStatus

from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from clusterapp.channel.log_pipe.log_events import RequestFacts
from clusterapp.errors import CoreError, CoreUnreachableError
from clusterapp.http.exchange.exchange import Exchange
from clusterapp.http.server.request_facts import request_facts
from clusterapp.http.syntax.client_origin import Origin
from clusterapp.http.syntax.message_head import RequestHead, ResponseHead, end_to_end
from clusterapp.http.upstream.core_agent import CoreAgent
from clusterapp.http.upstream.forwarding_client import ForwardingClient
from clusterapp.web.clients.trusted_proxies import TrustedProxies
from clusterapp.worker.proxy.proxied_request import (
    UPGRADE_FIELDS,
    CoreCutError,
    CoreSlowError,
    ProxiedRequest,
    Upstream,
)
from clusterapp.worker.proxy.readiness import Readiness
from clusterapp.worker.proxy.stream_drain import StreamDrain
from clusterapp.worker.proxy.upstream_timeouts import UpstreamTimeout

#: The status of the response for each error; 502 for all other errors.
_STATUS = {
    CoreUnreachableError: HTTPStatus.SERVICE_UNAVAILABLE,
    CoreSlowError: HTTPStatus.GATEWAY_TIMEOUT,
}
_SORRY = {
    HTTPStatus.BAD_GATEWAY: "{upstream} broke off before it answered.",
    HTTPStatus.SERVICE_UNAVAILABLE: "{upstream} is not ready. Please try again.",
    HTTPStatus.GATEWAY_TIMEOUT: "{upstream} did not answer in time.",
}


class ReverseProxy:
    """
    The base of reverse proxies: forwards requests, and passes their responses back.

    :param trusted: the trusted proxies, which determine a client's address.
    """

    _log = Logger()

    def __init__(self, trusted: TrustedProxies) -> None:
        self._trusted = trusted
        self._under_way: set[ProxiedRequest] = set()

    def _proxy(
        self, upstream: Upstream, head: RequestHead, exchange: Exchange, until: float
    ) -> None:
        """
        Forward a request.

        :param upstream: the upstream.
        :param head: the request head to send.
        :param exchange: the client's request, and the way to respond to it.
        :param until: the deadline for an upstream that is not ready, as a clock time.
        """
        proxied = ProxiedRequest(upstream, head, exchange, until, self._ended)
        self._under_way.add(proxied)
        proxied.begin()
        exchange.gone.addCallback(proxied.give_up)

    def close(self) -> None:
        """
        Abort the requests under way.

        The agents' connections are not closed: the code that made an agent closes it.
        """
        for proxied in list(self._under_way):
            proxied.give_up()

    def _ended(self, proxied: ProxiedRequest, failure: Failure | None) -> None:
        self._under_way.discard(proxied)
        if failure is not None:
            self._failed(proxied.exchange, proxied.name, failure)

    def _failed(self, exchange: Exchange, name: str, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, CoreError):
            self._report(exchange, name, error)
            if not isinstance(error, CoreCutError):
                self._refuse(exchange, name, error)
            return
        if not isinstance(error, CancelledError):
            self._log.failure(
                "cannot forward {request}", failure, request=self._facts(exchange)
            )
        exchange.abort()

    def _report(self, exchange: Exchange, name: str, error: Exception) -> None:
        self._log.error(
            "{upstream} failed at {request}: {error}",
            upstream=name,
            request=self._facts(exchange),
            error=error,
        )

    def _facts(self, exchange: Exchange) -> RequestFacts:
        fields = exchange.fields
        client = self._trusted.client_of(exchange.peer, fields)
        return request_facts(exchange.method, exchange.target, fields, client)

    def _refuse(self, exchange: Exchange, name: str, error: CoreError) -> None:
        status = _STATUS.get(type(error), HTTPStatus.BAD_GATEWAY)
        sorry = _SORRY[status].format(upstream=name.capitalize())
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
    The reverse proxy to the core.

    :param clock: the reactor's clock.
    :param agent: the HTTP client with the connections to the core.
    :param trusted: the trusted proxies, which determine a client's address.
    :param timeout: the seconds in which the core may neither receive more of a request
        nor begin to answer.
    :param start_wait: the seconds that a request waits for a core that is not ready.
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
        self._upstream = Upstream(
            "the core",
            clock,
            ForwardingClient(agent, clock),
            Readiness(clock),
            UpstreamTimeout(clock, timeout),
            StreamDrain(clock),
            agent.turn_end,
        )
        self._timeout = timeout
        self._is_back_soon = False

    def core_ready(self, ready: bool, *, back: bool = False) -> None:
        """
        Set whether the core is ready; at first it is not.

        :param ready: whether the core accepts requests.
        :param back: whether a core that is not ready is being replaced: requests then
            wait for it as long as for an answer, `timeout` instead of `start_wait`.
        """
        self._is_back_soon = back
        self._upstream.readiness.set(ready)

    def forward(self, exchange: Exchange) -> None:
        """Forward a request to the core."""
        wait = self._timeout if self._is_back_soon else self._start_wait
        until = self._upstream.clock.seconds() + wait
        self._proxy(self._upstream, self._head(exchange), exchange, until)

    def drain(self, spread: float = 0.0) -> None:
        """
        End the responses that would not end by themselves, such as event streams.

        :param spread: the seconds over which they are ended.
        """
        self._upstream.stream_drain.drain(spread)

    def close(self) -> None:
        """Abort the requests under way."""
        super().close()
        self._upstream.timeout.stop()

    def _head(self, exchange: Exchange) -> RequestHead:
        origin = exchange.origin
        # Hop-by-hop fields are removed before ours are added, since a client may name
        # ours in its Connection field.
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
    Add an empty Host field to forwarded fields, if the request has none.

    An HTTP/1.0 request need not have a Host field, and the forwarded request must (RFC
    9112, section 3.2). The receiving process removes the empty field again.
    """
    if not origin.has_host:
        fields.append((b"Host", b""))
    return fields
