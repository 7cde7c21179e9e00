"""Accepting connections in the master, for listeners whose policy asks for it."""

import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from clusterapp.dispatch.policies import LeastConnections, Policy
from clusterapp.guards import report
from clusterapp.http.syntax.request_head import Head
from clusterapp.http.syntax.socket_addresses import address_of
from clusterapp.master.distribution.accept_loop import AcceptLoop
from clusterapp.master.distribution.fd_passing import (
    MOST_WAITING,
    Arrived,
    FdPassing,
    WorkerTarget,
)
from clusterapp.master.distribution.listener_policy import PublicListener
from clusterapp.master.distribution.request_peek import RequestPeek
from clusterapp.master.master_sockets import Sockets
from clusterapp.system.descriptors import adopt_socket

if TYPE_CHECKING:
    from clusterapp.master.workers.slot_sockets import SlotSockets
    from clusterapp.web.clients.client_slot import ClientSlot


class MasterAcceptor:
    """
    Accepts connections in the master and passes them on to workers.

    It accepts from listeners whose policy asks for it, and from the sockets of slots
    without running worker: their sockets in groups, their ports, their private sockets.

    :param reactor: the master's reactor.
    :param sockets: the master's sockets.
    :param listeners: the public listeners.
    :ivar client_slot: returns the slot that a request has affinity to.
    :ivar trusts: returns whether the peer at an address is a trusted proxy.
    """

    def __init__(
        self, reactor: Any, sockets: Sockets, listeners: Sequence[PublicListener]
    ) -> None:
        self.client_slot: ClientSlot | None = None
        self.trusts: Callable[[Any], bool] = lambda _: False
        self._reactor = reactor
        self._sockets = sockets
        self._listeners = listeners
        self._fd_passing = FdPassing(reactor, self._turn)
        self._request_peek = RequestPeek(reactor, self._seen)
        #: The numbers of slots' ports and private sockets, which are no public
        #: listeners: see `clusterapp.worker.worker_listeners`.
        self._port, self._private = len(listeners), len(listeners) + 1
        self._any = LeastConnections(MOST_WAITING)
        self._accept_loops = {
            listener.number: self._accept_loop(listener.bound.socket, listener)
            for listener in listeners
        }
        #: The accept loops of vacant slots' sockets, by descriptor.
        self._vacant: dict[int, AcceptLoop] = {}
        self._running: Sequence[int] = ()
        self._slots: Sequence[int] = ()
        self._is_over = False

    @property
    def targets(self) -> Sequence[WorkerTarget]:
        """The workers that connections can be passed to."""
        return self._fd_passing.targets

    @targets.setter
    def targets(self, targets: Sequence[WorkerTarget]) -> None:
        self._fd_passing.targets = targets

    @property
    def given(self) -> int:
        """The number of connections passed on so far."""
        return self._fd_passing.given

    def arrange(self, running: Sequence[int], slots: Sequence[int]) -> None:
        """
        Accept connections that no worker accepts.

        :param running: the slots whose workers accept connections.
        :param slots: the slots that clients have affinity to.
        """
        left = {*self._running} - {*running} | {*self._slots} - {*slots}
        self._running, self._slots = running, slots
        self._find_vacant()
        self._turn()
        for number in sorted(left):
            slot_sockets = self._sockets.slot(number)
            self._fd_passing.reclaim_fds(
                slot_sockets, self._policies(belonged=number in slots)
            )

    def finish(self) -> Deferred[None]:
        """
        Stop accepting, and pass on the connections already accepted.

        :return: fires when workers have them, or have had no room for them for a while.
        """
        self._end()
        return self._fd_passing.finish()

    def stop(self) -> None:
        """Stop accepting; pass on what workers have room for, and close the rest."""
        self._end()
        self._fd_passing.stop()

    def _end(self) -> None:
        self._is_over = True
        self._turn()
        self._request_peek.stop()
        for slot_sockets in self._sockets.slot_sockets:
            if slot_sockets.number not in self._running:
                # No process is started any more that would receive them.
                self._fd_passing.reclaim_fds(
                    slot_sockets, self._policies(belonged=False)
                )

    def _turn(self) -> None:
        """Start or stop accepting, depending on whether workers have room."""
        may = bool(self.targets) and not self._fd_passing.is_held and not self._is_over
        for listener in self._listeners:
            self._accept_loops[listener.number].turn(on=may and not listener.is_shared)
        for accept_loop in self._vacant.values():
            accept_loop.turn(on=may)

    def _find_vacant(self) -> None:
        vacant = dict(self._own())
        for number in self._vacant.keys() - vacant.keys():
            self._vacant.pop(number).turn(on=False)
        for number in vacant.keys() - self._vacant.keys():
            listening, listener = vacant[number]
            self._vacant[number] = self._accept_loop(listening, listener)

    def _own(self) -> Iterator[tuple[int, tuple[socket.socket, PublicListener | int]]]:
        """Yield all sockets of slots without running worker."""
        for slot_sockets in self._sockets.slot_sockets:
            if (
                slot_sockets.number not in self._running
                and slot_sockets.port is not None
            ):
                yield (
                    slot_sockets.port.socket.fileno(),
                    (slot_sockets.port.socket, self._port),
                )
            if slot_sockets.number not in self._slots:
                # A worker may not have been notified yet that this slot has no clients.
                private = slot_sockets.private.socket
                yield private.fileno(), (private, self._private)
        for listener in self._listeners:
            group = self._sockets.groups.get(listener.bound.socket)
            if group is None:
                continue
            for slot, member in enumerate(group.members[1:]):
                if listener.group is None or slot not in self._running:
                    yield member.fileno(), (member, listener)

    def _accept_loop(
        self, listening: socket.socket, listener: PublicListener | int
    ) -> AcceptLoop:
        return AcceptLoop(
            self._reactor,
            listening,
            partial(self._arrived, listener),
            self._fd_passing.flush,
        )

    def _arrived(
        self, listener: PublicListener | int, connection: int, peer: Any
    ) -> None:
        if isinstance(listener, int):
            self._fd_passing.give(Arrived(connection, listener, self._any))
        elif listener.is_sticky and listener.can_be_peeked:
            looked_at = adopt_socket(connection)
            # An untrusted peer's PROXY header is not read: the worker refuses it.
            versions = listener.spec.proxy if self.trusts(peer) else None
            self._request_peek.look(looked_at, peer, versions, listener)
        else:
            self._fd_passing.give(Arrived(connection, listener.number, listener.policy))

    def _seen(
        self,
        connection: socket.socket,
        listener: PublicListener,
        peer: Any,
        head: Head | None,
    ) -> None:
        slot = None
        if head is not None and self.client_slot is not None:
            try:
                slot = self.client_slot.slot(address_of(peer), head.target, head.fields)
            except Exception:  # noqa: BLE001 - the worker reports or refuses the request
                report("find the slot that a request has affinity to", Failure())
        slot_sockets: SlotSockets | None = (
            None if slot is None else self._sockets.slot(slot)
        )
        number = connection.detach()
        self._fd_passing.give(
            Arrived(number, listener.number, listener.policy, slot_sockets)
        )
        self._fd_passing.flush()

    def _policies(self, *, belonged: bool) -> Mapping[int, Policy]:
        """
        Return the policies for connections that waited for a slot, by listener number.

        :param belonged: whether clients still have affinity to the slot.
        """
        policies: dict[int, Policy] = {
            listener.number: listener.policy
            for listener in self._listeners
            if not (listener.is_sticky and belonged)
        }
        return {**policies, self._port: self._any, self._private: self._any}
