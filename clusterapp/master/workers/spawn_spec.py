"""What the slots of a master are filled with."""

from collections.abc import Mapping
from dataclasses import dataclass

from clusterapp.channel.bootstrap import Bootstrap
from clusterapp.master.workers.child_resources import Supplier


@dataclass(frozen=True)
class Plan:
    """
    What a slot is filled with.

    :param bootstrap: what the child is told.
    :param environment: the child's environment.
    :param supplier: gives what each process inherits.
    :param access_log: a descriptor of the access log that it inherits; None if the
        bootstrap says all that there is to say of one.
    :param spread: the seconds over which a child that drains ends what does not end
        by itself.
    """

    bootstrap: Bootstrap
    environment: Mapping[str, str]
    supplier: Supplier
    access_log: int | None = None
    spread: float = 0.0
