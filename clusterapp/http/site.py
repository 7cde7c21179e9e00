"""The server side of HTTP: a twisted.web site that can stream requests away."""

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.web import server
from twisted.web.resource import IResource

from clusterapp.http.channel import ClusterChannel, ClusterRequest
from clusterapp.http.exchange import Exchange, Forward


class ClusterSite(server.Site):
    """
    A site whose requests are first offered to a forwarder.

    It writes no access log, and serves HTTP/1.1 only.

    :param reactor: keeps the time.
    :param root: serves the requests that the forwarder does not take.
    :param forward: takes requests before their bodies are read, or does not.
    :param keepalive_timeout: how long a client may be silent between requests
        and within one, in seconds.
    """

    protocol = ClusterChannel  # type: ignore[assignment]
    noisy = False
    #: Whether :meth:`drain` has been called.
    draining = False

    def __init__(
        self,
        reactor: IReactorTime,
        root: IResource,
        forward: Forward | None = None,
        *,
        keepalive_timeout: float = 65.0,
    ) -> None:
        super().__init__(
            root, ClusterRequest, reactor=reactor, timeout=keepalive_timeout
        )
        self._forward = forward
        self._channels: set[ClusterChannel] = set()
        self._drained: list[Deferred[None]] = []

    def drain(self) -> Deferred[None]:
        """
        End every connection, without breaking any request off.

        Idle connections are closed, and upgraded ones too; the others announce
        with their next response that they close.

        :return: fires when the last connection is gone.
        """
        self.draining = True
        done: Deferred[None] = Deferred()
        self._drained.append(done)
        for channel in list(self._channels):
            channel.drain()
        self._check_drained()
        return done

    def abort(self) -> None:
        """Break every connection off."""
        for channel in list(self._channels):
            channel.cut()

    def startFactory(self) -> None:
        """Start no access log: `HTTPFactory`'s would wake up every second."""

    def acceptableProtocols(self) -> list[bytes]:
        """Name what is spoken over TLS: the channel knows no HTTP/2."""
        return [b"http/1.1"]

    # What the channels call.

    def opened(self, channel: ClusterChannel) -> None:
        """Know of a new connection."""
        self._channels.add(channel)

    def closed(self, channel: ClusterChannel) -> None:
        """Know that a connection is gone."""
        self._channels.discard(channel)
        self._check_drained()

    def offer(self, exchange: Exchange) -> bool:
        """Ask the forwarder whether it takes a request."""
        return self._forward is not None and self._forward(exchange)

    def _check_drained(self) -> None:
        if self.draining and not self._channels:
            drained, self._drained = self._drained, []
            for done in drained:
                done.callback(None)
