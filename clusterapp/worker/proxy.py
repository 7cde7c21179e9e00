"""The reverse proxy to the core (in a worker)."""

from http import HTTPStatus

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from clusterapp.errors import CoreBrokenError, CoreUnreachableError, CoreUntrustedError
from clusterapp.http.agent import CoreAgent
from clusterapp.http.exchange import Exchange
from clusterapp.http.messages import RequestHead, ResponseHead, end_to_end
from clusterapp.http.response import WireResponse
from clusterapp.interfaces import Fields
from clusterapp.web.proxies import TrustedProxies
from clusterapp.worker.forwarding import (
    UPGRADE_FIELDS,
    CoreCutError,
    CoreSlowError,
    Relayed,
    ask,
    relay,
)
from clusterapp.worker.readiness import Readiness

#: How long to wait before a core that refuses connections is tried again, in s.
_RETRY_SECONDS = 0.1
_SORRY = {
    HTTPStatus.BAD_GATEWAY: "The core broke off before it answered.",
    HTTPStatus.SERVICE_UNAVAILABLE: "The core is not ready. Please try again.",
    HTTPStatus.GATEWAY_TIMEOUT: "The core did not answer in time.",
}


class CoreProxy:
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

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        agent: CoreAgent,
        *,
        trusted: TrustedProxies,
        timeout: float,
        start_wait: float = 5.0,
    ) -> None:
        self._clock = clock
        self._agent = agent
        self._trusted = trusted
        self._timeout = timeout
        self._start_wait = start_wait
        self._readiness = Readiness(clock)
        self._under_way: set[Deferred[None]] = set()
        self._endless: set[Relayed] = set()

    def core_ready(self, ready: bool) -> None:
        """Know whether the core takes requests; at first it does not."""
        self._readiness.set(ready)

    def forward(self, exchange: Exchange) -> None:
        """Respond to a request, whichever it is."""
        serving = Deferred.fromCoroutine(self._serve(exchange))
        self._under_way.add(serving)
        exchange.gone.addCallback(lambda _gone: serving.cancel())
        serving.addErrback(self._failed, exchange)
        serving.addBoth(lambda _none: self._under_way.discard(serving))

    def drain(self) -> None:
        """End the responses that would not end by themselves."""
        for body in list(self._endless):
            body.end()

    def close(self) -> None:
        """
        Break off what is under way.

        The agent's connections are left to who made it.
        """
        for serving in list(self._under_way):
            serving.cancel()

    async def _serve(self, exchange: Exchange) -> None:
        try:
            response = await self._ask(exchange)
            await relay(exchange, response, self._endless)
        except CoreUnreachableError as error:
            self._report(exchange, error)
            _refuse(exchange, HTTPStatus.SERVICE_UNAVAILABLE, [(b"Retry-After", b"1")])
        except (CoreBrokenError, CoreUntrustedError) as error:
            self._report(exchange, error)
            _refuse(exchange, HTTPStatus.BAD_GATEWAY)
        except CoreSlowError as error:
            self._report(exchange, error)
            _refuse(exchange, HTTPStatus.GATEWAY_TIMEOUT)
        except CoreCutError as error:
            self._report(exchange, error)

    async def _ask(self, exchange: Exchange) -> WireResponse:
        head = self._head(exchange)
        until = self._clock.seconds() + self._start_wait
        while True:
            await self._readiness.wait(until)
            try:
                return await ask(
                    self._clock, self._agent, head, exchange, seconds=self._timeout
                )
            except CoreUnreachableError:
                if self._clock.seconds() + _RETRY_SECONDS > until:
                    raise
            await deferLater(self._clock, _RETRY_SECONDS)

    def _head(self, exchange: Exchange) -> RequestHead:
        # Hop-by-hop fields first: a client may name ours in its Connection.
        fields = list(
            self._trusted.forwarded(
                peer=exchange.peer,
                secure=exchange.secure,
                fields=end_to_end(exchange.fields),
            )
        )
        if exchange.wants_upgrade:
            fields += UPGRADE_FIELDS
        return RequestHead(exchange.method, exchange.target, fields)

    def _failed(self, failure: Failure, exchange: Exchange) -> None:
        if not failure.check(CancelledError):
            self._log.failure(
                "cannot forward {target}", failure, target=_shown(exchange)
            )
        exchange.abort()

    def _report(self, exchange: Exchange, error: Exception) -> None:
        self._log.error(
            "the core failed at {method} {target} for {client}: {error}",
            client=self._trusted.client_of(exchange.peer, exchange.fields),
            method=exchange.method.decode("ascii"),
            target=_shown(exchange),
            error=error,
        )


def _refuse(exchange: Exchange, status: HTTPStatus, fields: Fields = ()) -> None:
    body = _SORRY[status].encode() + b"\n"
    described = [
        (b"Content-Type", b"text/plain; charset=utf-8"),
        (b"Content-Length", b"%d" % len(body)),
        *fields,
    ]
    exchange.respond(ResponseHead(status, status.phrase.encode(), described))
    exchange.write(body)
    exchange.finish()


def _shown(exchange: Exchange) -> str:
    # The query is left out: it may hold what no log should.
    return exchange.target.partition(b"?")[0].decode("latin-1")
