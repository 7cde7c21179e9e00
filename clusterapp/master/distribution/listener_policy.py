"""One public listener and its dispatch policy, in the master."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from clusterapp.dispatch.policies import LeastConnections, Policy, RoundRobin
from clusterapp.listening.listen_sockets import Listener
from clusterapp.listening.reuseport import Group
from clusterapp.master.distribution.fd_passing import MOST_WAITING
from clusterapp.settings.listen import AnyTlsListen, ListenSpec, TcpListen


@dataclass
class PublicListener:
    """
    A public listener and its dispatch policy.

    :param number: its index among all public listeners.
    :param name: its name, in master and workers.
    :param spec: its specification.
    :param listener: its first socket, which any process can accept from.
    :ivar dispatch: one of `DISPATCHES`.
    :ivar group: its `SO_REUSEPORT` group with a socket for each slot; None if workers
        have no sockets of their own.
    :ivar policy: chooses the worker of a connection that the master has accepted.
    """

    number: int
    name: str
    spec: ListenSpec
    bound: Listener
    dispatch: str = "shared"
    group: Group | None = None
    policy: Policy = field(default_factory=lambda: LeastConnections(MOST_WAITING))

    def follow(self, dispatch: str, group: Group | None) -> None:
        """
        Change the dispatch policy.

        :param dispatch: one of `DISPATCHES`.
        :param group: the group of which workers accept from their own sockets, if any.
        """
        self.dispatch = dispatch
        self.group = group
        # Clients with affinity must be equally many in all slots, however short their
        # first connections are: in turn, not by open connections.
        in_turn = dispatch in {"round-robin", "sticky"}
        self.policy = (RoundRobin if in_turn else LeastConnections)(MOST_WAITING)

    @property
    def is_sticky(self) -> bool:
        """Whether clients have affinity to slots."""
        return self.dispatch == "sticky"

    @property
    def is_shared(self) -> bool:
        """Whether all workers accept from the first socket."""
        return self.dispatch == "shared"

    @property
    def is_the_masters(self) -> bool:
        """Whether the master accepts the connections."""
        return self.group is None and not self.is_shared

    @property
    def who_decides(self) -> str:
        """What chooses a connection's worker: "master", "workers" or "kernel"."""
        if self.is_the_masters:
            return "master"
        return "workers" if self.is_shared else "kernel"

    @property
    def can_be_peeked(self) -> bool:
        """Whether the master can peek at the first request: not if it is TLS."""
        return not isinstance(self.spec, AnyTlsListen)

    @property
    def is_tcp(self) -> bool:
        """Whether its specification is a TCP port, with or without TLS."""
        return isinstance(self.spec, TcpListen | AnyTlsListen)

    def describe(self, key: str) -> Mapping[str, Any]:
        """
        Return how its connections are dispatched, JSON-compatible.

        :param key: the session affinity key of sticky listeners.
        """
        return {
            "listener": str(self.spec),
            "address": self.bound.address(),
            "dispatch": self.dispatch,
            "sticky": key if self.is_sticky else None,
            "by": self.who_decides,
        }

    def in_words(self, key: str) -> str:
        """Return the same in words for people; the key is that of `describe`."""
        known_by = f" by {key}" if self.is_sticky else ""
        return f"{self.spec}: {self.dispatch}{known_by}"

    def listening(self, slot: int) -> socket.socket | None:
        """
        Return the socket that a slot's worker accepts from.

        :return: None if the master accepts.
        """
        if self.group is not None:
            return self.group.member(slot)
        return self.bound.socket if self.is_shared else None
