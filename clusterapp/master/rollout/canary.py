"""Trials: processes that are to take a slot, and must first show that they can."""

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
from clusterapp.descriptors import socket_pair
from clusterapp.errors import ClusterError, CoreError
from clusterapp.http.upstream.core_agent import CoreAgent
from clusterapp.lifecycle import State
from clusterapp.master.rollout.canary_client import TrialClient
from clusterapp.master.workers.child_slot import ChildSlot, Watcher

#: Statuses from here on say that a server is at fault (RFC 9110, section 15.6).
_SERVER_ERROR = 500
#: Statuses from here on say that a request was not answered with what it asked for.
_ERROR = 400


class TrialError(ClusterError):
    """
    A process cannot take its slot.

    :param slot: the number of the slot.
    :param reason: why not, in one line.
    :param traceback: where the application failed; empty if it did not.
    """

    def __init__(self, slot: str, reason: str, traceback: str = "") -> None:
        super().__init__(f"{slot}: {reason}")
        self.reason = reason
        self.traceback = traceback


class Trial:
    """
    One process on trial; it is the watcher of its slot until it has passed.

    :param slot: what it is to fill; not started yet.
    :param watcher: hears all that is to be heard of the slot, too.
    """

    def __init__(self, slot: ChildSlot, watcher: Watcher) -> None:
        self.slot = slot
        self._watcher = watcher
        self._awaited: Deferred[None] | None = None
        slot.watcher = self

    async def load(self) -> None:
        """
        Start the process, and wait until it has done all that it can on trial.

        :raise TrialError: if it cannot.
        """
        awaited = self._awaited = Deferred()
        self.slot.start()  # it may fail at once
        await awaited

    async def take_place(self) -> None:
        """
        Let the process go on, and wait until it is ready.

        :raise TrialError: if it cannot.
        """
        if self.slot.state == "stopped":
            raise self._failed()
        awaited = self._awaited = Deferred()
        self.slot.activate()
        await awaited
        self.slot.watcher = self._watcher

    async def probe(self, reactor: Any, client: TrialClient, path: str | None) -> None:
        """
        Ask a worker on trial for a page, on a connection that nobody else has.

        It comes as from another worker, which tells whose it is: to the application
        it is a request of a client on one of the listeners.

        :param reactor: the master's reactor.
        :param client: whose request it is.
        :param path: what must be answered well; None for the root, where anything
            but a server's error will do.
        :raise TrialError: if it is not.
        """
        self._awaited = Deferred()
        ours, theirs = socket_pair()
        with ours, theirs:
            if not await self.slot.adopt(theirs, PRIVATE):
                raise self._failed()
            theirs.close()
            agent = CoreAgent(reactor, _Connected(reactor, ours))
            asked = agent.send(client.get(path or "/"))
            # If the process dies, or takes too long and is killed, that is the news.
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

    # What is heard of the slot: it is a `Watcher`.

    def entered(self, slot: ChildSlot, state: State) -> None:
        """Hear of the slot's state."""
        self._watcher.entered(slot, state)
        if state == "running":
            self._heard(None)
        elif state == "stopped":
            self._heard(Failure(self._failed()))

    def imported(self, *, has_core: bool) -> None:
        """Pass on whether the application has a core."""
        self._watcher.imported(has_core=has_core)

    def loaded(self, slot: ChildSlot) -> None:
        """Hear that the process waits to be let go on."""
        self._watcher.loaded(slot)
        self._heard(None)

    def failed(
        self, slot: ChildSlot, *, loading: bool, reason: str, traceback: str
    ) -> None:
        """Hear why the process cannot start; whoever began the trial says so."""

    def hand_over(
        self, slot: ChildSlot, connection: socket.socket, door: str
    ) -> Deferred[bool]:
        """Pass a connection on that the process cannot serve to its end."""
        return self._watcher.hand_over(slot, connection, door)

    def _heard(self, news: Failure | None) -> None:
        awaited, self._awaited = self._awaited, None
        if awaited is not None:
            awaited.callback(news)

    def _unanswered(self, path: str, error: BaseException) -> TrialError:
        slot = self.slot
        if slot.overdue is not None:
            # It was killed: the break of its connection or its exit may come first.
            reason = (
                f"has not answered GET {path} within {slot.overdue:g} s of its start"
            )
            return TrialError(slot.label, reason, slot.traceback)
        return self._failed(f"does not answer GET {path}: {error}")

    def _failed(self, reason: str = "") -> TrialError:
        slot = self.slot
        if slot.state == "stopped":
            reason = slot.exit_reason
        return TrialError(slot.label, reason, slot.traceback)


@implementer(IStreamClientEndpoint)
class _Connected:
    """The endpoint of a connection that is there already."""

    def __init__(self, reactor: Any, connection: socket.socket) -> None:
        self._reactor = reactor
        self._connection = connection

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Give the connection to a protocol; the reactor makes a duplicate of it."""
        protocol: Any = protocolFactory.buildProtocol(UNIXAddress(None))
        self._reactor.adoptStreamConnection(
            self._connection.fileno(), socket.AF_UNIX, Adopted(protocol)
        )
        return succeed(protocol)
