"""
Bounded set of unauthenticated connections, with a choice of which one to evict.

At the maximum, a new connection evicts the oldest one of the address that has most: a
client that fills the set evicts its own connections only.
"""

from collections import OrderedDict, defaultdict
from ipaddress import IPv6Address, ip_address
from typing import Generic, TypeVar

T = TypeVar("T")

#: The number of bytes of an IPv6 address that identify a network: its /64 (RFC 4291).
_IPV6_NETWORK_BYTES = 8


def network_of(host: str) -> bytes:
    """
    Return the network of a connection's peer, which counts as one address.

    :param host: the peer's IP address, or the empty string if it has none.
    :return: the address in binary; for IPv6 the /64, since one host may have a whole
        /64, and for an IPv4-mapped IPv6 address the IPv4 address.
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
    Bounded set of connections that tracks which network has most of them.

    Each method takes constant time.

    :param most: the maximum number of connections.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._networks: dict[T, bytes] = {}
        #: The connections of each network, the oldest first.
        self._connections: defaultdict[bytes, OrderedDict[T, None]] = defaultdict(
            OrderedDict
        )
        #: The networks by their number of connections; the first network of a number
        #: has had that number for longest.
        self._holders: defaultdict[int, OrderedDict[bytes, None]] = defaultdict(
            OrderedDict
        )
        self._largest = 0

    def __len__(self) -> int:
        """Return the number of connections."""
        return len(self._networks)

    def add(self, connection: T, network: bytes) -> T | None:
        """
        Add a new connection.

        :param connection: the connection.
        :param network: the network of its peer, as returned by `network_of`.
        :return: the connection evicted, which the caller closes; None below the
            maximum.
        """
        evicted = self._pop_oldest_of_largest() if len(self) >= self.most else None
        self._networks[connection] = network
        self._connections[network][connection] = None
        self._resize(network, 1)
        return evicted

    def discard(self, connection: T) -> None:
        """Remove a connection, if it is in the set."""
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
        """Move a network to its new number of connections in the index."""
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
                # Its last network has moved to a number greater or less by one.
                self._largest = size if before == self._largest else self._largest
