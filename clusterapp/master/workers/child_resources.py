"""The resources that a process inherits; each process of a slot has its own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from clusterapp.channel.bootstrap import Bootstrap


def _nothing() -> None:
    """Do nothing."""


@dataclass(frozen=True)
class ChildResources:
    """
    The resources of one process of a slot, with what its bootstrap says of them.

    :param descriptors: the file descriptors that it inherits, by name.
    :param listeners: see `Bootstrap`, as for the next three.
    :param shared: see there.
    :param row: see there.
    :param stickiness: see there.
    :param gone: called when the process has exited, or could not be started.
    """

    descriptors: Mapping[str, int]
    listeners: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    row: int = 0
    stickiness: Mapping[str, Any] = field(default_factory=dict)
    gone: Callable[[], None] = _nothing

    def tell(self, bootstrap: Bootstrap) -> Bootstrap:
        """Return the bootstrap with the fields of these resources."""
        return replace(
            bootstrap,
            listeners=self.listeners,
            shared=self.shared,
            row=self.row,
            stickiness=self.stickiness,
        )


#: Returns the resources for the next process of a slot.
#:
#: It raises an OSError if there are none left.
ResourcesOf = Callable[[int], ChildResources]
