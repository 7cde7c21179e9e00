"""Kinds of peers that connect to a server: clients, and processes of the cluster."""

from enum import Enum, auto


class PeerKind(Enum):
    """What the peer of a connection is, and so whose its requests are."""

    #: A client, or a proxy in front of the cluster.
    CLIENT = auto()
    #: A worker that relays requests of its clients, each of which names its client.
    RELAY = auto()
    #: A worker that forwards requests to the core. One that names no client is the
    #: worker's own, from ``app.cluster.core``.
    AGENT = auto()
