"""Trials: a new process must load, and a worker answer a request, to take a slot."""

import socket
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import (
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from clusterapp.channel.bootstrap import PRIVATE
from clusterapp.channel.protocol import Adopted
from clusterapp.errors import ClusterError, CoreError
from clusterapp.http.upstream.core_agent import CoreAgent
from clusterapp.lifecycle import State
from clusterapp.master.rollout.canary_client import CanaryClient
from clusterapp.master.workers.child_slot import ChildSlot, Watcher
from clusterapp.system.descriptors import socket_pair

#: Statuses from here on are server errors (RFC 9110, section 15.6).
_SERVER_ERROR = 500
#: Statuses from here on are errors.
_ERROR = 400


class CanaryError(ClusterError):
    """
    A process failed its trial and cannot take its slot.

    :param slot: the name of the process, as in ``worker 1``.
    :param reason: the reason, in one line.
    :param traceback: the traceback of the application's failure; empty if it did not
        fail.
    """

    def __init__(self, slot: str, reason: str, traceback: str = "") -> None:
        super().__init__(f"{slot}: {reason}")
        self.reason = reason
        self.traceback = traceback


class Canary:
    """
    A canary process; the watcher of its slot until its check has passed.

    :param slot: the child that is to take the slot; not started yet.
    :param watcher: is notified of all events of the slot, too.
    """

    def __init__(self, slot: ChildSlot, watcher: Watcher) -> None:
        self.slot = slot
        self._watcher = watcher
        self._awaited: Deferred[None] | None = None
        slot.watcher = self

    async def load(self) -> None:
        """
        Start the process, and wait until it has loaded what a canary may load.

        :raise CanaryError: if it fails.
        """
        awaited = self._awaited = Deferred()
        self.slot.start()  # it may fail synchronously
        await awaited

    async def take_place(self) -> None:
        """
        Activate the process, and wait until it is ready.

        :raise CanaryError: if it fails.
        """
        if self.slot.state == "stopped":
            raise self._failed()
        awaited = self._awaited = Deferred()
        self.slot.activate()
        await awaited
        self.slot.watcher = self._watcher

    async def probe(self, reactor: Any, client: CanaryClient, path: str | None) -> None:
        """
        Send a GET to a canary worker, on a connection of its own.

        The request looks like one relayed by another worker, with the address of its
        client: to the application it is a request of a client on one of the listeners.

        :param reactor: the master's reactor.
        :param client: the client that the request is from.
        :param path: the path that must be answered without an error; None for the root,
            where only a server error (5xx) fails the check.
        :raise CanaryError: if there is no response, or an error.
        """
        self._awaited = Deferred()
        ours, theirs = socket_pair()
        with ours, theirs:
            if not await self.slot.adopt(theirs, PRIVATE):
                raise self._failed()
            theirs.close()
            agent = CoreAgent(reactor, _Connected(reactor, ours))
            asked = agent.send(client.get(path or "/"))
            # If the process exits, or is killed for being late, there is no response.
            self._awaited.addErrback(lambda _: asked.cancel())
            try:
                status = (await asked).head.status
            except (CoreError, CancelledError) as error:
                if isinstance(error, CancelledError) and self.slot.state != "stopped":
                    raise
                raise self._unanswered(path or "/", error) from error
            finally:
                self._awaited = None
                await agent.close()
        if status >= (_SERVER_ERROR if path is None else _ERROR):
            raise self._failed(f"answers GET {path or '/'} with status {status}")

    # The methods of a `Watcher` of the slot.

    def entered(self, slot: ChildSlot, state: State) -> None:
        """Called when the state of the slot has changed."""
        self._watcher.entered(slot, state)
        if state == "running":
            self._resolve(None)
        elif state == "stopped":
            self._resolve(Failure(self._failed()))

    def imported(self, *, has_core: bool) -> None:
        """Called when the process has imported the application."""
        self._watcher.imported(has_core=has_core)

    def terminating(self, slot: ChildSlot) -> None:
        """Called when the process has received SIGTERM."""
        self._watcher.terminating(slot)

    def loaded(self, slot: ChildSlot) -> None:
        """Called when the process waits to be activated, or drains."""
        self._watcher.loaded(slot)
        self._resolve(None)

    def failed(
        self, slot: ChildSlot, *, loading: bool, reason: str, traceback: str
    ) -> None:
        """Called when the process cannot start; the rollout reports why."""

    def hand_over(
        self, slot: ChildSlot, connection: socket.socket, listener: str
    ) -> Deferred[bool]:
        """Transfer a connection of the canary to another worker."""
        return self._watcher.hand_over(slot, connection, listener)

    def _resolve(self, news: Failure | None) -> None:
        awaited, self._awaited = self._awaited, None
        if awaited is not None:
            awaited.callback(news)

    def _unanswered(self, path: str, error: BaseException) -> CanaryError:
        slot = self.slot
        if slot.overdue is not None:
            # It was killed: the loss of its connection or its exit may come first.
            reason = (
                f"has not answered GET {path} within {slot.overdue:g} s of its start"
            )
            return CanaryError(slot.label, reason, slot.traceback)
        return self._failed(f"does not answer GET {path}: {error}")

    def _failed(self, reason: str = "") -> CanaryError:
        slot = self.slot
        if slot.state == "stopped":
            reason = slot.exit_reason
        return CanaryError(slot.label, reason, slot.traceback)


@implementer(IStreamClientEndpoint)
class _Connected:
    """The endpoint of an established connection."""

    def __init__(self, reactor: Any, connection: socket.socket) -> None:
        self._reactor = reactor
        self._connection = connection

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Attach the connection to a protocol; the reactor uses a duplicate of it."""
        protocol: Any = protocolFactory.buildProtocol(UNIXAddress(None))
        self._reactor.adoptStreamConnection(
            self._connection.fileno(), socket.AF_UNIX, Adopted(protocol)
        )
        return succeed(protocol)
