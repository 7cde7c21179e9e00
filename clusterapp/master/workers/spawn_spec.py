"""What the master needs to spawn the processes of a slot."""

from collections.abc import Mapping
from dataclasses import dataclass

from clusterapp.channel.bootstrap import Bootstrap
from clusterapp.master.workers.child_resources import ResourcesOf


@dataclass(frozen=True)
class SpawnSpec:
    """
    All that the processes of a slot are spawned with.

    :param bootstrap: the bootstrap that the child reads.
    :param environment: the child's environment.
    :param resources_of: returns the resources that each process inherits.
    :param access_log: a descriptor of the access log to inherit; None if the bootstrap
        has its path, or there is none.
    :param spread: the seconds over which a draining child spreads the closing of
        connections that do not end by themselves.
    """

    bootstrap: Bootstrap
    environment: Mapping[str, str]
    resources_of: ResourcesOf
    access_log: int | None = None
    spread: float = 0.0
