"""What a process is given when it is started, which may be another thing each time."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from clusterapp.channel.bootstrap import Bootstrap


def _nothing() -> None:
    """Do nothing."""


@dataclass(frozen=True)
class ChildResources:
    """
    What one process of a slot inherits, and is told with it.

    :param descriptors: the descriptors that it inherits, by what they are for.
    :param listeners: see `Bootstrap`, as for the next three.
    :param shared: see there.
    :param row: see there.
    :param stickiness: see there.
    :param gone: called when the process is gone, or could not be started.
    """

    descriptors: Mapping[str, int]
    listeners: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    row: int = 0
    stickiness: Mapping[str, Any] = field(default_factory=dict)
    gone: Callable[[], None] = _nothing

    def tell(self, bootstrap: Bootstrap) -> Bootstrap:
        """Add to what a process is told."""
        return replace(
            bootstrap,
            listeners=self.listeners,
            shared=self.shared,
            row=self.row,
            stickiness=self.stickiness,
        )


#: Gives what the next process of a slot gets.
#:
#: It raises an OSError if there is nothing left to give.
Supplier = Callable[[int], ChildResources]
