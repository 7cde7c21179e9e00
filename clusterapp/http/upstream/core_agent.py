"""
The HTTP agent that sends a worker's requests to the core.

It is made for one trusted server nearby, reached through one endpoint, and for a proxy
in front of it: requests are sent byte for byte, bodies are streamed in both directions
at once, and every part of a response is returned as received. No request is sent twice:
one that may have reached the core fails rather than be sent again.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Final, cast

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from clusterapp.errors import CoreUnreachableError, CoreUntrustedError
from clusterapp.http.syntax.message_head import RequestHead, ResponseHead
from clusterapp.http.upstream.connection_pool import IdleConnections
from clusterapp.http.upstream.forwarded_headers import ForwardedHeaders
from clusterapp.http.upstream.upstream_connection import Call, CoreConnection
from clusterapp.http.upstream.upstream_response import ForwardedResponse, WireResponse
from clusterapp.system.turn_end import TurnEnd

#: The default time, in seconds, for which an idle connection is kept.
IDLE_TIMEOUT = 30.0

#: The number of connections that are tried for a request: a server that is short of
#: descriptors may close a new one before anything is written to it.
_ATTEMPTS: Final = 3

#: Scheme, userinfo, authority, and the request target (RFC 3986 3).
_URI: Final = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#@]*@)?([^/?#]*)([^#]*)")

#: Methods whose requests have a Content-Length even without content (RFC 9110 8.6).
_WITH_CONTENT: Final = frozenset({b"POST", b"PUT", b"PATCH"})


@implementer(IAgent)
class CoreAgent:
    """
    Sends requests to the core, over persistent connections.

    There are as many connections as concurrent requests.

    :param clock: schedules the closing of idle connections.
    :param endpoint: the endpoint of the core.
    :param idle_timeout: seconds after which an idle connection is closed; shorter than
        the core's keep-alive timeout, so that requests do not cross a close on the
        wire.
    :param max_idle: the most idle connections that are kept.
    :param turn_end: tells the end of a turn of the loop; see `IdleConnections`.
    :param path: the path of the core's Unix socket, for errors; None if it has none.
    :ivar turn_end: the same, for what follows on a response; None if it is not known.
    """

    def __init__(  # noqa: PLR0913 - one parameter for each property of the pool
        self,
        clock: IReactorTime,
        endpoint: IStreamClientEndpoint,
        *,
        idle_timeout: float = IDLE_TIMEOUT,
        max_idle: int = 64,
        turn_end: TurnEnd | None = None,
        path: str | None = None,
    ) -> None:
        self.turn_end = turn_end
        self._where = "" if path is None else f" to unix:{path}"
        self._endpoint = endpoint
        self._idle = IdleConnections(clock, idle_timeout, max_idle, turn_end)
        self._factory = Factory.forProtocol(partial(CoreConnection, self))
        self._factory.noisy = False
        self._alive: set[CoreConnection] = set()
        self._connecting: set[Deferred[CoreConnection]] = set()
        self._closed = False
        self._closing: list[Deferred[None]] = []

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        """
        Send a request for an absolute URI, whose host is not resolved.

        A ``Host`` is added if there is none.  The Deferred fails like that of
        :meth:`send`.

        With :class:`ForwardedHeaders` it is sent like by :meth:`send`: the URI is only
        the ``absoluteURI`` of the response's request.
        """
        if isinstance(headers, ForwardedHeaders):
            return self._send(  # type: ignore[return-value]
                headers.head, bodyProducer, headers.interim, uri, ForwardedResponse
            )
        parts = _URI.match(uri)
        if parts is None:
            return fail(ValueError(f"not an absolute URI: {uri!r}"))
        host, target = parts.groups()
        head = RequestHead(
            method,
            target if target.startswith(b"/") else b"/" + target,
            _fields(headers or Headers(), host, method),
        )
        # To its readers, a Deferred of a WireResponse is one of an IResponse.
        return self._send(head, bodyProducer, None, uri)  # type: ignore[return-value]

    def send(
        self,
        head: RequestHead,
        body: IBodyProducer | None = None,
        interim: Callable[[ResponseHead], None] | None = None,
    ) -> Deferred[WireResponse]:
        """
        Send a request, its target and fields byte for byte.

        Only the fields that frame the body are changed.  The body is sent while the
        response is awaited and read; if the response ends first, sending stops.

        :param head: the request's head.
        :param body: produces the body; its ``trailers`` (fields), if it has any, are
            read when its Deferred fires, and sent if its length was unknown.
        :param interim: called with each 1xx response that precedes the final one.
        :return: a Deferred of the response, which fires when its head has been
            received.  Cancelling it closes the connection.  It fails with a
            CoreUnreachableError or a CoreUntrustedError if nothing was sent, a
            CoreBrokenError if the connection broke, the response was not HTTP or the
            body not of its length, a ValueError for a head that cannot be written, or
            as the producer's own Deferred failed.
        """
        return self._send(head, body, interim, None)

    def close(self) -> Deferred[None]:
        """
        Close all connections, also those in use; no new ones are opened.

        :return: a Deferred that fires when the last one is closed.
        """
        self._closed = True
        self._idle.stop()
        for connecting in list(self._connecting):
            connecting.cancel()
        for connection in list(self._alive):
            connection.abort()
        if not self._alive:
            return succeed(None)
        gone: Deferred[None] = Deferred()
        self._closing.append(gone)
        return gone

    # Called by the connections.

    def connected(self, connection: CoreConnection) -> None:
        """Called when a connection is made: register it."""
        self._alive.add(connection)

    def released(self, connection: CoreConnection) -> None:
        """Called when a call is complete: return the connection to the pool."""
        self._idle.put(connection)

    def lost(self, connection: CoreConnection) -> None:
        """Called when a connection is closed: remove it."""
        self._alive.discard(connection)
        self._idle.discard(connection)
        if not self._alive:
            closing, self._closing = self._closing, []
            for gone in closing:
                gone.callback(None)

    def _send(
        self,
        head: RequestHead,
        body: IBodyProducer | None,
        interim: Callable[[ResponseHead], None] | None,
        uri: bytes | None,
        response_type: type[WireResponse] = WireResponse,
    ) -> Deferred[WireResponse]:
        if self._closed:
            return fail(CoreUnreachableError("the agent is closed"))
        try:
            call = Call(head, body, interim, uri, response_type)
        except ValueError:
            return fail()
        result = call.result()
        connection = self._idle.take()
        if connection is None:
            self._connect(call)
        else:
            connection.start(call)
        return result

    def _connect(self, call: Call, attempts: int = _ATTEMPTS) -> None:
        connecting = cast(
            "Deferred[CoreConnection]", self._endpoint.connect(self._factory)
        )
        self._connecting.add(connecting)
        call.give_up = connecting.cancel

        def ended(result: CoreConnection | Failure) -> CoreConnection | Failure:
            self._connecting.discard(connecting)
            return result

        def start(connection: CoreConnection) -> None:
            if connection.is_closed and attempts > 1 and not self._closed:
                self._connect(call, attempts - 1)
            else:
                connection.start(call)

        connecting.addCallback(CoreConnection.when_ready)
        connecting.addBoth(ended)
        connecting.addCallbacks(start, _unreachable, errbackArgs=(call, self._where))


def _unreachable(failure: Failure, call: Call, where: str) -> None:
    untrusted = failure.check(SSL.Error, VerificationError)
    kind = CoreUntrustedError if untrusted else CoreUnreachableError
    error = kind(f"no connection{where}: {_message_of(failure)}")
    error.__cause__ = failure.value
    call.fail(Failure(error))


def _message_of(failure: Failure) -> str:
    # Exceptions of OpenSSL and service-identity have no message.
    return failure.getErrorMessage() or repr(failure.value)


def _fields(headers: Headers, host: bytes, method: bytes) -> list[tuple[bytes, bytes]]:
    fields = [
        (name, value) for name, lines in headers.getAllRawHeaders() for value in lines
    ]
    if not headers.hasHeader(b"host"):
        fields.insert(0, (b"Host", host))
    if method in _WITH_CONTENT:
        # If there is a body, its own framing replaces this field.
        fields.append((b"Content-Length", b"0"))
    return fields
