"""One listener for clients, as the master distributes its connections."""

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
class Door:
    """
    A listener, and the policy that holds for it.

    :param number: its place among all listeners.
    :param name: its name, in master and workers.
    :param spec: what it was specified as.
    :param listener: its first socket, which all can accept from.
    :ivar dispatch: one of `DISPATCHES`.
    :ivar group: its sockets for each slot, where workers accept from those.
    :ivar policy: who chooses a worker, where the master does.
    """

    number: int
    name: str
    spec: ListenSpec
    listener: Listener
    dispatch: str = "shared"
    group: Group | None = None
    policy: Policy = field(default_factory=lambda: LeastConnections(MOST_WAITING))

    def follow(self, dispatch: str, group: Group | None) -> None:
        """
        Distribute connections in another way from now on.

        :param dispatch: one of `DISPATCHES`.
        :param group: where workers accept from sockets of their own.
        """
        self.dispatch = dispatch
        self.group = group
        # Clients that stay are to be as many everywhere, however short their first
        # connections are.
        in_turn = dispatch in {"round-robin", "sticky"}
        self.policy = (RoundRobin if in_turn else LeastConnections)(MOST_WAITING)

    @property
    def is_sticky(self) -> bool:
        """Whether clients stay with their workers."""
        return self.dispatch == "sticky"

    @property
    def is_shared(self) -> bool:
        """Whether all workers accept from the first socket."""
        return self.dispatch == "shared"

    @property
    def is_the_masters(self) -> bool:
        """Whether the master accepts."""
        return self.group is None and not self.is_shared

    @property
    def who_decides(self) -> str:
        """Who chooses the worker of a connection, in a word."""
        if self.is_the_masters:
            return "master"
        return "workers" if self.is_shared else "kernel"

    @property
    def can_be_peeked(self) -> bool:
        """Whether the master can read the first request of a connection."""
        return not isinstance(self.spec, AnyTlsListen)

    @property
    def is_tcp(self) -> bool:
        """Whether its first socket was made here, for TCP."""
        return isinstance(self.spec, TcpListen | AnyTlsListen)

    def describe(self, key: str) -> Mapping[str, Any]:
        """
        Tell how its connections are distributed, as JSON can hold it.

        :param key: what clients are known by where they stay.
        """
        return {
            "listener": str(self.spec),
            "address": self.listener.address(),
            "dispatch": self.dispatch,
            "sticky": key if self.is_sticky else None,
            "by": self.who_decides,
        }

    def in_words(self, key: str) -> str:
        """Tell it to people; the key is that of `describe`."""
        known_by = f" by {key}" if self.is_sticky else ""
        return f"{self.spec}: {self.dispatch}{known_by}"

    def listening(self, slot: int) -> socket.socket | None:
        """
        Tell what a slot's worker accepts from.

        :return: None if the master accepts.
        """
        if self.group is not None:
            return self.group.member(slot)
        return self.listener.socket if self.is_shared else None
