"""A release: a generation with all that its processes are started with."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from clusterapp.channel.bootstrap import Bootstrap
from clusterapp.lifecycle import SlotTimeouts
from clusterapp.master.access_log_path import place_access_log
from clusterapp.master.master_sockets import Sockets
from clusterapp.master.rollout.canary_client import CanaryClient
from clusterapp.master.rollout.generation import Generation
from clusterapp.master.workers.child_resources import ChildResources, ResourcesOf
from clusterapp.master.workers.child_slot import ChildSlot, Watcher
from clusterapp.master.workers.spawn_spec import SpawnSpec
from clusterapp.settings.stop_time import LAST_WORDS


@dataclass(frozen=True)
class Release:
    """
    All that the children of one generation are started with.

    :param generation: the generation.
    :param worker: the plan of a worker, except for its slot number.
    :param core: the plan of a core in a child of its own.
    :param core_sockets: the sockets that a core accepts from, in any process.
    :param timeouts: the timeouts of the children.
    :param client: the client of the request that a canary worker has to answer.
    """

    generation: Generation
    worker: SpawnSpec
    core: SpawnSpec
    core_sockets: Mapping[str, socket.socket]
    timeouts: SlotTimeouts
    client: CanaryClient

    @property
    def number(self) -> int:
        """The number of the generation."""
        return self.generation.number

    def slot(
        self, reactor: Any, number: int, watcher: Watcher, *, as_canary: bool = False
    ) -> ChildSlot:
        """
        Create a supervised child for a slot; no process is started yet.

        :param reactor: the master's reactor.
        :param number: the number of the slot.
        :param watcher: is notified of its events.
        :param as_canary: whether its first process waits before it takes the slot.
        """
        bootstrap = replace(self.worker.bootstrap, slot=number)
        spec = replace(self.worker, bootstrap=bootstrap)
        return ChildSlot(reactor, spec, self.timeouts, watcher, as_canary=as_canary)


def make_release(
    generation: Generation, sockets: Sockets, resources_of: ResourcesOf
) -> Release:
    """
    Create the release of a generation.

    :param generation: the generation.
    :param sockets: the sockets of the master.
    :param resources_of: returns the resources that each worker inherits.
    :raise SettingsError: if its access log cannot be written.
    """
    settings = generation.settings
    bootstrap = Bootstrap(
        role="worker",
        slot=0,
        generation=generation.number,
        settings=settings.as_mapping(),
        core_socket=sockets.core_path,
        cache=sockets.cache(generation.number),
        folder=generation.folder,
        path=generation.path,
        umask=generation.umask,
    )
    worker = SpawnSpec(
        bootstrap, generation.environment, resources_of, spread=settings.drain_spread
    )
    core_sockets = sockets.core
    of_core = ChildResources(
        {name: each.fileno() for name, each in core_sockets.items()}
    )
    return Release(
        generation=generation,
        worker=place_access_log(worker, settings.access_log, generation.started_in),
        # Workers wait for a core that is replaced, so its drain must not be spread.
        core=replace(worker, resources_of=lambda _: of_core, spread=0.0),
        core_sockets=core_sockets,
        client=CanaryClient.of(sockets.public_listeners[0][2]),
        timeouts=SlotTimeouts(
            boot=settings.boot_timeout,
            drain=settings.graceful_timeout + LAST_WORDS,
            hang=settings.hang_timeout,
        ),
    )
