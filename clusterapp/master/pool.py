"""The workers of one master, together."""

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred

from clusterapp.lifecycle import State
from clusterapp.master.slot import ChildSlot


class Pool:
    """
    Slots that are started, told, drained and given up together.

    :param on_hopeless: called when every slot is fatal; told whether any process
        was ever ready.
    """

    def __init__(self, on_hopeless: Callable[[bool], None]) -> None:
        self._slots: Sequence[ChildSlot] = ()
        self._on_hopeless = on_hopeless
        #: Whether any process of the pool ever took connections.
        self.ever_ready = False
        self._core_is_ready = False
        self._drained: Deferred[None] | None = None

    def start(self, slots: Sequence[ChildSlot]) -> None:
        """
        Fill the slots.

        :param slots: the pool's slots; they report to this pool's `entered`.
        """
        self._slots = slots
        for slot in slots:
            slot.start()

    def drain(self) -> Deferred[None]:
        """Empty all slots; fires when the last process is gone."""
        self._drained = Deferred()
        for slot in self._slots:
            slot.drain()
        self._check_drained()
        return self._drained

    def drop(self) -> None:
        """Empty all slots at once; what their processes were doing is lost."""
        for slot in self._slots:
            slot.drop()

    def core_ready(self, ready: bool) -> None:
        """Tell every process whether the core takes requests."""
        self._core_is_ready = ready
        for slot in self._slots:
            slot.core_ready(ready)

    def reopen_logs(self) -> None:
        """Tell every process that the files of logs have been renamed."""
        for slot in self._slots:
            slot.reopen_logs()

    def entered(self, slot: ChildSlot, state: State) -> None:
        """Hear from a slot that it is in another state."""
        if state == "running":
            self.ever_ready = True
            slot.core_ready(self._core_is_ready)
        if state == "stopped":
            self._check_drained()
        if state == "fatal" and all(each.state == "fatal" for each in self._slots):
            self._on_hopeless(self.ever_ready)

    def _check_drained(self) -> None:
        if self._drained is None or self._drained.called:
            return
        if all(slot.state == "stopped" for slot in self._slots):
            self._drained.callback(None)
