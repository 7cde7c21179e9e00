"""
The connections that have not been authenticated yet, and which of them to close.

When all places are taken, a new connection takes that of the oldest one of the address
that holds most: a client that fills them closes its own connections only.
"""

from collections import OrderedDict, defaultdict
from ipaddress import IPv6Address, ip_address
from typing import Generic, TypeVar

T = TypeVar("T")

#: The bytes of an IPv6 address that tell one site from another: its /64 (RFC 4291).
_IPV6_NETWORK_BYTES = 8


def network_of(host: str) -> bytes:
    """
    Return what counts as one address, for a connection's peer.

    :param host: its IP address, or the empty string if it has none.
    :return: the address in binary; of IPv6 the /64, since a host may have all of
        that, and of an IPv4 address that is mapped into IPv6 the IPv4 address.
    """
    if not host:
        return b""
    address = ip_address(host)
    if not isinstance(address, IPv6Address):
        return address.packed
    mapped = address.ipv4_mapped
    return address.packed[:_IPV6_NETWORK_BYTES] if mapped is None else mapped.packed


class PendingConnections(Generic[T]):
    """
    A bounded set of connections that knows which address holds most of it.

    Each method takes constant time.

    :param most: the number of places.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._networks: dict[T, bytes] = {}
        #: The connections of each network, the oldest first.
        self._connections: defaultdict[bytes, OrderedDict[T, None]] = defaultdict(
            OrderedDict
        )
        #: The networks that hold a number of places; the first one has had that number
        #: for longest.
        self._holders: defaultdict[int, OrderedDict[bytes, None]] = defaultdict(
            OrderedDict
        )
        self._largest = 0

    def __len__(self) -> int:
        """Return the number of places that are taken."""
        return len(self._networks)

    def add(self, connection: T, network: bytes) -> T | None:
        """
        Give a place to a new connection.

        :param network: what `network_of` returns for its peer.
        :return: the connection that has lost its place, which the caller closes; None
            if there was a free one.
        """
        evicted = self._pop_oldest_of_largest() if len(self) >= self.most else None
        self._networks[connection] = network
        self._connections[network][connection] = None
        self._resize(network, 1)
        return evicted

    def discard(self, connection: T) -> None:
        """Free the place of a connection, if it has one."""
        network = self._networks.pop(connection, None)
        if network is not None:
            del self._connections[network][connection]
            self._resize(network, -1)

    def _pop_oldest_of_largest(self) -> T:
        network = next(iter(self._holders[self._largest]))
        oldest = next(iter(self._connections[network]))
        self.discard(oldest)
        return oldest

    def _resize(self, network: bytes, change: int) -> None:
        """File a network under the number of places that it holds now."""
        size = len(self._connections[network])
        if size:
            self._holders[size][network] = None
            self._largest = max(self._largest, size)
        else:
            del self._connections[network]
        before = size - change
        if before:
            del self._holders[before][network]
            if not self._holders[before]:
                del self._holders[before]
                # Its last network has gone to a number that is greater or less by one.
                self._largest = size if before == self._largest else self._largest
