"""What an operator can ask of a running cluster, and what is answered."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from twisted.internet.defer import Deferred

#: What stands for the core where a slot can be named.
CORE: Final = "core"

#: A process of the cluster: the number of a worker's slot, or the core.
Slot = int | Literal["core"]


@dataclass(frozen=True)
class Step:
    """
    Something that an operation has done, or begins to do.

    :param text: what it is, in a few words.
    :param slot: the slot that it is about; None for the whole cluster.
    """

    text: str
    slot: Slot | None = None


@dataclass(frozen=True)
class Verdict:
    """
    How an operation has ended.

    :param ok: whether all that was asked for is done.
    :param text: what was done, or why it was not, in a line or a few.
    :param traceback: where the application failed; empty if it did not.
    """

    ok: bool
    text: str
    traceback: str = ""


@dataclass(frozen=True)
class Health:
    """
    Whether a cluster can serve.

    :param ready: whether clients should be sent to it.
    :param detail: why, as JSON can hold it.
    """

    ready: bool
    detail: Mapping[str, Any]


@dataclass(frozen=True)
class Dispatch:
    """
    How connections are to be distributed.

    :param policy: one of `clusterapp.settings.listen.DISPATCHES`.
    :param sticky: what clients are known by from now on; None if as before.
    :param listener: the specification of the only listener that is meant; None for
        all of them.
    """

    policy: str
    sticky: str | None = None
    listener: str | None = None


#: Hears of each step of an operation as it happens.
Tell = Callable[[Step], None]


class Operations(Protocol):
    """
    What an operator can ask of a running cluster.

    Those that take a while give a Deferred, which fires with a verdict and never
    fails. What cannot be begun raises an `OperationError` at once: a `BusyError`
    while another operation is under way, an `UnknownSlotError` for a slot that is
    not there.
    """

    def status(self) -> Mapping[str, Any]:
        """Tell the state of the cluster and of each worker, as JSON can hold it."""

    def config(self) -> Mapping[str, Any]:
        """Tell the value of each setting, and where it came from."""

    def health(self) -> Health:
        """Tell whether the cluster can serve."""

    def reload(self, tell: Tell) -> Deferred[Verdict]:
        """Replace all workers, one after the other, by ones with new code."""

    def upgrade(self, tell: Tell) -> Deferred[Verdict]:
        """Replace the master and all that it runs."""

    def scale(
        self, workers: int, tell: Tell, *, force: bool = False
    ) -> Deferred[Verdict]:
        """
        Change the number of workers.

        :param force: whether there may be more than make sense on this machine.
        """

    def dispatch(self, wanted: Dispatch, tell: Tell) -> Deferred[Verdict]:
        """Distribute connections in another way, until the next start."""

    def restart(self, slot: Slot, tell: Tell) -> Deferred[Verdict]:
        """Replace the worker of one slot, or the core, or fill the slot again."""

    def drain(self, slot: int, tell: Tell) -> Deferred[Verdict]:
        """Empty one slot, gracefully; it stays empty."""

    def stacks(self, slot: Slot | None) -> Deferred[Mapping[Slot, str]]:
        """
        Get the Python stacks and the requests under way of one process, or of all.

        :return: fires with a text for each slot that has a process.
        """

    def stop(self, *, quick: bool, tell: Tell) -> Deferred[Verdict]:
        """Stop the cluster; the verdict comes before the master leaves."""
