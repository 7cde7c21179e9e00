"""The operations that an operator can request of a running cluster."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from twisted.internet.defer import Deferred

#: Names the core where a slot can be named.
CORE: Final = "core"

#: A process of the cluster: the slot number of a worker, or the core.
Slot = int | Literal["core"]


@dataclass(frozen=True)
class Step:
    """
    A step of an operation, done or begun.

    :param text: the step, in a few words.
    :param slot: the slot that it concerns; None for the whole cluster.
    """

    text: str
    slot: Slot | None = None


@dataclass(frozen=True)
class OperationResult:
    """
    The result of an operation.

    :param ok: whether everything requested was done.
    :param text: what was done, or why it was not, in one or a few lines.
    :param traceback: the traceback of the application's failure; empty if it did not
        fail.
    """

    ok: bool
    text: str
    traceback: str = ""


@dataclass(frozen=True)
class Health:
    """
    The readiness of a cluster.

    :param ready: whether clients should be sent to it.
    :param detail: the reason and figures, JSON-compatible.
    """

    ready: bool
    detail: Mapping[str, Any]


@dataclass(frozen=True)
class Dispatch:
    """
    A change of the dispatch policy.

    :param policy: one of `clusterapp.settings.listen.DISPATCHES`.
    :param sticky: the new session affinity key; None to keep the present one.
    :param listener: the specification of the only listener to change; None for all.
    """

    policy: str
    sticky: str | None = None
    listener: str | None = None


#: Called with each step of an operation as it happens.
Tell = Callable[[Step], None]


class Operations(Protocol):
    """
    The operations that an operator can request of a running cluster.

    Those that take time return a Deferred, which fires with a verdict and never
    fails. An operation that cannot be started raises an `OperationError` at once: a
    `BusyError` while another operation is under way, an `UnknownSlotError` for a slot
    that does not exist.
    """

    def status(self) -> Mapping[str, Any]:
        """Return the state of the cluster and of each worker, JSON-compatible."""

    def config(self) -> Mapping[str, Any]:
        """Return the value of each setting and its source."""

    def health(self) -> Health:
        """Return whether the cluster can serve."""

    def reload(self, tell: Tell) -> Deferred[OperationResult]:
        """Replace all workers with processes of a new generation, in batches."""

    def upgrade(self, tell: Tell) -> Deferred[OperationResult]:
        """Replace the master and all its processes."""

    def scale(
        self, workers: int, tell: Tell, *, force: bool = False
    ) -> Deferred[OperationResult]:
        """
        Change the number of workers.

        :param force: whether to exceed the maximum that is of use on this machine.
        """

    def dispatch(self, wanted: Dispatch, tell: Tell) -> Deferred[OperationResult]:
        """Change the dispatch policy, until the next start."""

    def restart(self, slot: Slot, tell: Tell) -> Deferred[OperationResult]:
        """Replace the worker of one slot, or the core; an empty slot is filled."""

    def drain(self, slot: int, tell: Tell) -> Deferred[OperationResult]:
        """Drain the worker of one slot; the slot stays empty."""

    def stacks(self, slot: Slot | None) -> Deferred[Mapping[Slot, str]]:
        """
        Return the Python stacks and the requests under way of one process, or of all.

        :return: fires with a text for each slot that has a process.
        """

    def stop(self, *, quick: bool, tell: Tell) -> Deferred[OperationResult]:
        """Stop the cluster; the verdict is sent before the master exits."""
