"""The reverse proxy to the core (in a worker)."""

from http import HTTPStatus

from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from clusterapp.errors import CoreError, CoreUnreachableError
from clusterapp.http.agent import CoreAgent
from clusterapp.http.exchange import Exchange
from clusterapp.http.messages import RequestHead, ResponseHead, end_to_end
from clusterapp.web.proxies import TrustedProxies
from clusterapp.worker.endless import Endless
from clusterapp.worker.forwarding import (
    UPGRADE_FIELDS,
    CoreCutError,
    CoreSlowError,
    Passage,
    Way,
)
from clusterapp.worker.patience import Patience
from clusterapp.worker.readiness import Readiness

#: What the client is told; 502 for everything else.
_STATUS = {
    CoreUnreachableError: HTTPStatus.SERVICE_UNAVAILABLE,
    CoreSlowError: HTTPStatus.GATEWAY_TIMEOUT,
}
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
        self._trusted = trusted
        self._start_wait = start_wait
        self._way = Way(
            clock, agent, Readiness(clock), Patience(clock, timeout), Endless(clock)
        )
        self._patience = timeout
        self._is_back_soon = False
        self._under_way: set[Passage] = set()

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
        passage = Passage(self._way, self._head(exchange), exchange, until, self._ended)
        self._under_way.add(passage)
        passage.begin()
        exchange.gone.addCallback(passage.give_up)

    def drain(self, spread: float = 0.0) -> None:
        """
        End the responses that would not end by themselves.

        :param spread: the seconds over which they end.
        """
        self._way.endless.drain(spread)

    def close(self) -> None:
        """
        Break off what is under way.

        The agent's connections are left to who made it.
        """
        for passage in list(self._under_way):
            passage.give_up()
        self._way.patience.stop()

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

    def _ended(self, passage: Passage, failure: Failure | None) -> None:
        self._under_way.discard(passage)
        if failure is not None:
            self._failed(passage.exchange, failure)

    def _failed(self, exchange: Exchange, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, CoreError):
            self._report(exchange, error)
            if not isinstance(error, CoreCutError):
                _refuse(exchange, error)
            return
        if not isinstance(error, CancelledError):
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


def _refuse(exchange: Exchange, error: CoreError) -> None:
    status = _STATUS.get(type(error), HTTPStatus.BAD_GATEWAY)
    body = _SORRY[status].encode() + b"\n"
    fields = [
        (b"Content-Type", b"text/plain; charset=utf-8"),
        (b"Content-Length", b"%d" % len(body)),
    ]
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        fields.append((b"Retry-After", b"1"))
    exchange.respond(ResponseHead(status, status.phrase.encode(), fields), body)
    exchange.finish()


def _shown(exchange: Exchange) -> str:
    # The query is left out: it may hold what no log should.
    return exchange.target.partition(b"?")[0].decode("latin-1")
