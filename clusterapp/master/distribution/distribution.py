"""Dispatch of connections to workers: the master's part of it."""

import socket
from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from clusterapp.channel.bootstrap import PORT, PRIVATE, QUEUE, SCOREBOARD
from clusterapp.channel.stickiness import Stickiness
from clusterapp.channel.upgrade_state import OperatorChanges
from clusterapp.dispatch.steering import Program, at_random, by_address, first_only
from clusterapp.errors import ListenError, OperationError
from clusterapp.listening.listen_sockets import Listener
from clusterapp.listening.reuseport import Group
from clusterapp.listening.scoreboard import OwnScoreboard
from clusterapp.master.distribution.dispatch_overrides import Overrides
from clusterapp.master.distribution.fd_passing import WorkerTarget
from clusterapp.master.distribution.listener_policy import PublicListener
from clusterapp.master.distribution.master_acceptor import MasterAcceptor
from clusterapp.master.distribution.rate import Rate
from clusterapp.master.master_sockets import Sockets
from clusterapp.master.workers.child_resources import ChildResources
from clusterapp.master.workers.child_slot import ChildSlot
from clusterapp.master.workers.worker_pool import WorkerPool
from clusterapp.operations import Dispatch
from clusterapp.settings.model import Settings
from clusterapp.web.clients.client_slot import ClientSlot
from clusterapp.web.clients.trusted_proxies import TrustedProxies

#: The socket that a process accepts from (None if the master accepts), and whether
#: other workers accept from it, too.
Accepting = tuple[socket.socket | None, bool]

#: The settings that affect the dispatch.
_SETTINGS = ("dispatch", "sticky", "trusted_proxies")

#: The states of a slot to which no client has affinity any more.
_VACANT = frozenset({"stopped", "draining", "fatal"})


class Distribution:
    """
    Dispatches the connections of all listeners to the workers of a pool.

    Workers accept connections themselves if the policy of the listener allows that.
    The master accepts for the other listeners, and from the sockets of slots without
    a running worker.

    :param reactor: the master's reactor.
    :param sockets: the master's sockets, bound.
    :param settings: the settings.
    :param secret: the key that session affinity cookies are signed with.
    :param size: the initial number of slots.
    :param operator_changes: what operators have set in the older master.
    :ivar overrides: what operators have set, in the older master and in this one.
    :raise ListenError: if the policy of a listener in the settings is impossible.
    """

    _log = Logger()

    def __init__(  # noqa: PLR0913, PLR0917 - one for each dependency
        self,
        reactor: Any,
        sockets: Sockets,
        settings: Settings,
        secret: bytes,
        size: int,
        operator_changes: OperatorChanges = OperatorChanges(),  # noqa: B008 - it is frozen
    ) -> None:
        self._sockets = sockets
        self._trusted = TrustedProxies(settings.trusted_proxies)
        self.overrides = Overrides(operator_changes, settings)
        self._key = self.overrides.sticky or settings.sticky
        self._secret = secret.hex()
        self._listeners = [
            PublicListener(number, name, spec, listener)
            for number, (name, spec, listener) in enumerate(sockets.public_listeners)
        ]
        self._acceptor = MasterAcceptor(reactor, sockets, self._listeners)
        self._rate = Rate(reactor, lambda: self._acceptor.given)
        self._pool: WorkerPool | None = None
        self._running: tuple[int, ...] = ()
        #: The slots that clients can have affinity to.
        self._slots: tuple[int, ...] = ()
        self._notified_version: dict[ChildSlot, int] = {}
        #: What each process accepts from, by its scoreboard row and listener name.
        self._given: dict[int, dict[str, Accepting]] = {}
        self._version = 0
        for number in range(size):
            sockets.slot(number)
        for listener in self._listeners:
            self._follow(listener, self.overrides.policy(listener.spec, settings))
        sockets.leave_the_rest()
        self._board = OwnScoreboard()

    def serve(self, pool: WorkerPool) -> None:
        """Start dispatching to the workers of a pool."""
        self._rate.start()
        self._pool = pool
        self.changed()

    # The resources of a slot's processes.

    def child_resources(self, slot: int) -> ChildResources:
        """
        Return the resources for the next process of a slot.

        :raise ListenError: if a socket cannot be bound.
        :raise OSError: if there are too many processes.
        """
        slot_sockets = self._sockets.slot(slot)
        self._make_room(slot)
        listening = {
            listener.name: listener.listening(slot) for listener in self._listeners
        }
        row = self._board.take()
        slot_sockets.entered(row, self._board.row(row))
        self._given[row] = {
            listener.name: self._accepting(listener, slot)
            for listener in self._listeners
        }
        descriptors = {
            SCOREBOARD: self._board.descriptor,
            QUEUE: slot_sockets.queue.receiving.fileno(),
            PRIVATE: slot_sockets.private.socket.fileno(),
        }
        if slot_sockets.port is not None:
            descriptors[PORT] = slot_sockets.port.socket.fileno()
        for name, each in listening.items():
            if each is not None:
                descriptors[name] = each.fileno()

        def gone() -> None:
            slot_sockets.left(row)
            del self._given[row]
            self._board.give_back(row)

        return ChildResources(
            descriptors,
            listeners=tuple(listening),
            shared=tuple(
                listener.name for listener in self._listeners if listener.is_shared
            ),
            row=row,
            stickiness=self._stickiness().as_mapping(),
            gone=gone,
        )

    def _make_room(self, slot: int) -> None:
        """
        Create a socket for a slot in each `SO_REUSEPORT` group.

        :raise ListenError: if that fails, and the master cannot dispatch instead.
        """
        for listener in self._listeners:
            if listener.group is None:
                continue
            try:
                listener.group.member(slot)
            except ListenError as error:
                if not listener.is_sticky:
                    raise
                # The process may have dropped privileges since it bound the others.
                self._log.warn(
                    "connections are dispatched by the master: {error}", error=error
                )
                listener.follow(listener.dispatch, None)
                self._rearrange(notify=True)

    def send_updates(self, slot: ChildSlot) -> None:
        """Send a process the dispatch state, if it has not received the present one."""
        if not slot.serves or self._notified_version.get(slot) == self._version:
            return
        self._notified_version[slot] = self._version
        slot.update_affinity(self._stickiness().to_json())
        if slot.state == "draining" or slot.row is None:
            return  # it accepts no connections any more
        given = self._given[slot.row]
        for listener in self._listeners:
            before, now = given[listener.name], self._accepting(listener, slot.number)
            if now == before:
                continue  # a process without free descriptors could not receive it
            given[listener.name] = listening, shared = now
            if listening is None:
                slot.refuse(listener.name)
            else:
                slot.accept(listener.name, listening, shared=shared)

    @staticmethod
    def _accepting(listener: PublicListener, slot: int) -> Accepting:
        return listener.listening(slot), listener.is_shared

    # Changes.

    def changed(self) -> None:
        """Called when the state of a worker may have changed: update the targets."""
        pool = self._pool
        if pool is None:
            return
        running = {slot.number: slot for slot in pool.running()}
        self._acceptor.targets = [
            WorkerTarget(self._sockets.slot(number), self._board.row(slot.row))
            for number, slot in sorted(running.items())
            if slot.row is not None
        ]
        slots = {
            number for number, slot in pool.slots.items() if slot.state not in _VACANT
        }
        before = self._running, self._slots
        self._running, self._slots = tuple(sorted(running)), tuple(sorted(slots))
        if (self._running, self._slots) != before:
            self._rearrange(notify=self._slots != before[1])

    def set_policy(self, wanted: Dispatch) -> str:
        """
        Change the dispatch policy as an operator has requested.

        :return: the policies of all listeners now, for people.
        :raise OperationError: if that is impossible; nothing has changed then.
        """
        listeners = self._meant(wanted.listener)
        policies = dict.fromkeys(
            (listener.number for listener in listeners), wanted.policy
        )
        self._change(self._trusted, wanted.sticky or self._key, policies)
        specs = [listener.spec for listener in listeners]
        self.overrides.set(specs, wanted.policy, wanted.sticky)
        return "; ".join(listener.in_words(self._key) for listener in self._listeners)

    def check(self, settings: Settings) -> None:
        """
        Check whether the policies of settings are possible, before a reload begins.

        :raise OperationError: if not.
        """
        for listener in self._listeners:
            self._check_policy(listener, listener.spec.dispatch or settings.dispatch)

    def check_dispatch(self, wanted: Dispatch) -> None:
        """
        Check whether the policy requested by an operator is possible.

        :raise OperationError: if not.
        """
        for listener in self._meant(wanted.listener):
            self._check_policy(listener, wanted.policy)

    def _check_policy(self, listener: PublicListener, policy: str) -> None:
        try:
            if policy == "reuseport":
                self._own_sockets(listener)
        except ListenError as error:
            raise OperationError(str(error)) from error

    def settings_changed(self, before: Settings, after: Settings) -> None:
        """
        Apply the settings of a reload, where they differ from those before.

        :raise OperationError: if that is impossible; nothing has changed then.
        """
        if all(getattr(before, name) == getattr(after, name) for name in _SETTINGS):
            return
        # Overrides by operators stay in force for settings that have not changed.
        policies = {
            listener.number: listener.spec.dispatch or after.dispatch
            for listener in self._listeners
            if before.dispatch != after.dispatch
        }
        key = self._key if before.sticky == after.sticky else after.sticky
        self._change(TrustedProxies(after.trusted_proxies), key, policies)
        self.overrides.settings_changed(before, after)

    def _change(
        self, trusted: TrustedProxies, key: str, policies: Mapping[int, str]
    ) -> None:
        """
        Change trusted proxies, affinity key and policies together.

        :param policies: the new policies of listeners, by listener number.
        :raise OperationError: if that is impossible; nothing has changed then.
        """
        before = self._trusted, self._key
        ways = [
            (listener, listener.dispatch, listener.group)
            for listener in self._listeners
        ]
        self._trusted, self._key = trusted, key
        try:
            for listener in self._listeners:
                # Whether kernel or master decides affinity depends on its key.
                if listener.number in policies or listener.is_sticky:
                    self._follow(
                        listener, policies.get(listener.number, listener.dispatch)
                    )
        except ListenError as error:
            self._trusted, self._key = before
            for listener, dispatch, group in ways:
                listener.follow(dispatch, group)
            raise OperationError(str(error)) from error
        self._rearrange(notify=True)

    def _meant(self, listener: str | None) -> list[PublicListener]:
        listeners = [
            each for each in self._listeners if listener in {None, str(each.spec)}
        ]
        if not listeners:
            known = ", ".join(str(each.spec) for each in self._listeners)
            raise OperationError(f"there is no listener {listener}; there are {known}")
        return listeners

    def steer_anew(self) -> None:
        """Load the steering programs again: another master may have replaced them."""
        for listener in self._listeners:
            self._steer(listener)

    def finish(self) -> Deferred[None]:
        """
        Stop accepting, and pass on the connections already accepted.

        :return: fires when workers have them, or have had no room for them for a while.
        """
        self._pool = None
        self._rate.stop()
        return self._acceptor.finish()

    def stop(self) -> None:
        """Stop accepting; pass on what workers have room for, and close the rest."""
        self._pool = None
        self._rate.stop()
        self._acceptor.stop()

    def close(self) -> None:
        """Stop, and release the scoreboard: no worker uses it any more, or yet."""
        self.stop()
        self._board.close()

    def _follow(self, listener: PublicListener, dispatch: str) -> None:
        group = None
        if dispatch == "reuseport":
            group = self._own_sockets(listener)
        elif dispatch == "sticky" and self._kernel_can(listener):
            group = self._group_if_possible(listener.bound)
        listener.follow(dispatch, group)

    def _own_sockets(self, listener: PublicListener) -> Group:
        if not listener.is_tcp:
            raise ListenError(f"{listener.spec} cannot be reuseport: it is not TCP")
        return self._group(listener.bound)

    def _kernel_can(self, listener: PublicListener) -> bool:
        """Return whether the kernel itself can see the affinity key of clients."""
        return (
            self._key == "client-ip"
            and listener.is_tcp
            and listener.spec.proxy is None
            and not self._trusted.trusts_everyone
        )

    def _group_if_possible(self, listener: Listener) -> Group | None:
        try:
            return self._group(listener)
        except ListenError as error:
            self._log.info(
                "connections are dispatched by the master: {error}", error=error
            )
            return None

    def _group(self, listener: Listener) -> Group:
        """
        Return the group of a listener, with a socket for each existing slot.

        :raise ListenError: if the listener cannot have one.
        """
        group = self._sockets.group(listener)
        group.member(len(self._sockets.slot_sockets) - 1)
        return group

    def _rearrange(self, *, notify: bool) -> None:
        """
        Apply the policies to kernel, master and workers.

        :param notify: whether workers are to be notified.
        """
        self.steer_anew()
        how = self._stickiness()
        self._acceptor.client_slot = ClientSlot(how, self._trusted)
        self._acceptor.trusts = self._trusted.trusts_peer
        if notify and self._pool is not None:
            self._version += 1
            all_slots = tuple(self._pool.all_slots())
            self._notified_version = {
                s: n for s, n in self._notified_version.items() if s in all_slots
            }
            for slot in all_slots:
                self.send_updates(slot)
        self._acceptor.arrange(self._running, self._slots)

    def _steer(self, listener: PublicListener) -> None:
        group = self._sockets.groups.get(listener.bound.socket)
        if group is None:
            return
        try:
            group.steer(self._program(listener))
        except (ValueError, ListenError) as error:
            self._log.warn(
                "connections are dispatched by the master: {error}", error=error
            )
            listener.follow(listener.dispatch, None)
            group.steer(first_only())

    def _program(self, listener: PublicListener) -> Program:
        if listener.group is None or not self._slots:
            return first_only()
        if listener.is_sticky:
            return by_address(self._slots, self._trusted.networks)
        return at_random(self._running or self._slots)

    def _stickiness(self) -> Stickiness:
        listeners = tuple(
            listener.name for listener in self._listeners if listener.is_sticky
        )
        return Stickiness(listeners, self._key, self._slots, self._secret)

    # Status.

    def describe(self) -> Mapping[str, Any]:
        """Return the dispatch of each listener and the counts, JSON-compatible."""
        return {
            "listeners": [listener.describe(self._key) for listener in self._listeners],
            "handed_off": self._acceptor.given,
            "handed_off_per_second": self._rate.per_second,
            "waiting": {
                str(slot_sockets.number): slot_sockets.waiting
                for slot_sockets in self._sockets.slot_sockets
            },
        }
