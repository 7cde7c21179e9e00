"""TLS for connections of strangers, of which only so many may be under way (core)."""

import resource
from collections import Counter
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary

from twisted.internet.interfaces import IAddress, IOpenSSLServerConnectionCreator
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol

if TYPE_CHECKING:
    from clusterapp.http.transports.twisted_connection import HostedConnection

#: The most connections that have not brought a request yet; and no more than this
#: part of the descriptors that the process may have, so that the others are left for
#: what it serves already.
MOST_PENDING = 1024
_PART_OF_DESCRIPTORS = 4
#: The part of them that one address may have.
_PART_OF_PENDING = 2

#: Seconds for which no further refusal is logged.
_QUIET = 60.0


class BoundedTLSFactory(TLSMemoryBIOFactory):
    """
    Serves a site over TLS, and bounds the connections that have not asked for anything.

    Until its first request is there, a connection may be that of anybody: the client's
    certificate comes with the end of the handshake, which need not come. How long it
    may take is the site's `Limits.first_request_timeout`.

    :param options: makes the server's end of each TLS connection.
    :param site: the factory of `HostedConnection`.
    :param clock: the reactor.
    """

    _log = Logger()

    def __init__(
        self, options: IOpenSSLServerConnectionCreator, site: Any, clock: Any
    ) -> None:
        super().__init__(options, isClient=False, wrappedFactory=site, clock=clock)
        self._clock = clock
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.most = min(MOST_PENDING, descriptors // _PART_OF_DESCRIPTORS)
        self.most_of_one = self.most // _PART_OF_PENDING
        #: The connections that have not brought a request, and their addresses.
        self._pending: WeakKeyDictionary[HostedConnection, str] = WeakKeyDictionary()
        self._of_address: Counter[str] = Counter()
        self._quiet_until = 0.0
        self._refused = 0

    def buildProtocol(  # type: ignore[override]  # Twisted allows None
        self, addr: IAddress | None
    ) -> TLSMemoryBIOProtocol | None:
        """
        Make the protocol of a new connection.

        :return: None, which closes the connection, if too many are pending.
        """
        address = str(getattr(addr, "host", ""))
        if self._is_full(address):
            self._forget_settled()
            if self._is_full(address):
                self._refuse(address)
                return None
        protocol = super().buildProtocol(addr)
        connection = cast("HostedConnection", protocol.wrappedProtocol)
        self._pending[connection] = address
        self._of_address[address] += 1
        return protocol

    def _is_full(self, address: str) -> bool:
        return (
            len(self._pending) >= self.most
            or self._of_address[address] >= self.most_of_one
        )

    def _forget_settled(self) -> None:
        """Count no connection that has brought a request, or is gone."""
        self._pending = WeakKeyDictionary(
            {
                connection: address
                for connection, address in self._pending.items()
                if connection.is_new
            }
        )
        self._of_address = Counter(self._pending.values())

    def _refuse(self, address: str) -> None:
        self._refused += 1
        now = self._clock.seconds()
        if now < self._quiet_until:
            return
        self._log.warn(
            "refused a connection of {address} to the core: {pending} have brought no"
            " request yet ({refused} were refused since the last such line)",
            address=address or "a Unix peer",
            pending=len(self._pending),
            refused=self._refused,
        )
        self._quiet_until, self._refused = now + _QUIET, 0
