"""A distribution over real sockets, with slots that the test fills."""

import json
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clusterapp.channel.bootstrap import SCOREBOARD
from clusterapp.channel.upgrade_channel import UpgradeOffer
from clusterapp.errors import ClusterError
from clusterapp.interfaces import RECEIVED
from clusterapp.listening.scoreboard import Scoreboard
from clusterapp.master.distribution.distribution import Distribution
from clusterapp.master.master_sockets import Sockets
from clusterapp.master.upgrade.new_master import InheritedState
from clusterapp.master.workers.worker_pool import WorkerPool
from clusterapp.operations import Dispatch
from clusterapp.settings.model import Settings
from tests.unit.arriving import ArrivingCase

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clusterapp.lifecycle import State
    from clusterapp.master.workers.child_resources import ChildResources

TCP = "tcp:0:interface=127.0.0.1"


class Filling:
    """
    What fills a slot, as far as it matters here: `child_slot.ChildSlot`.

    :ivar told: what its process was told: listeners to accept from, by which sockets
        and whether they are shared; None for those to refuse.
    :ivar stuck: what it was told of clients that stay, each time.
    """

    def __init__(self, number: int, child_resources: "ChildResources") -> None:
        self.number = number
        self.state: State = "running"
        self.serves = True
        self.row: int | None = child_resources.row
        self.child_resources = child_resources
        self.told: dict[str, tuple[socket.socket, bool] | None] = {}
        self.stuck: list[Mapping[str, Any]] = []

    @property
    def accepts(self) -> bool:
        return self.state == "running"

    def accept(self, listener: str, listening: socket.socket, *, shared: bool) -> None:
        self.told[listener] = listening, shared

    def refuse(self, listener: str) -> None:
        self.told[listener] = None

    def update_affinity(self, how: str) -> None:
        self.stuck.append(json.loads(how))

    def receives(self, count: int) -> None:
        """Say that it has received connections."""
        board = Scoreboard(self.child_resources.descriptors[SCOREBOARD])
        board.row(self.child_resources.row)[RECEIVED] += count

    def exits(self) -> None:
        """Release the resources of the process, as after its exit."""
        self.row = None
        self.child_resources.gone()


class DistributionCase(ArrivingCase):
    """A distribution of which nothing is left."""

    def setUp(self) -> None:
        super().setUp()
        folder = tempfile.TemporaryDirectory(prefix="clusterapp-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.unix = f"unix:{self.folder / 'a.sock'}"

    def settings(self, *listen: str, **more: object) -> Settings:
        """Choose settings; without a listener, one at a port of loopback."""
        state = str(self.folder / "state")
        return Settings(listen=listen or TCP, state=state, **more)  # type: ignore[arg-type]

    def bind(
        self, settings: Settings, inherited: InheritedState | None = None
    ) -> Sockets:
        sockets = Sockets(settings, inherited)
        self.addCleanup(sockets.close)
        sockets.bind()
        sockets.open_state()
        return sockets

    def distribute(
        self,
        *listen: str,
        size: int = 2,
        inherited: InheritedState | None = None,
        **more: object,
    ) -> Distribution:
        """Distribute as these settings say, with nobody in the slots yet."""
        self.chosen = self.settings(*listen, **more)
        self.sockets = self.bind(self.chosen, inherited)
        made = Distribution(self.reactor, self.sockets, self.chosen, b"secret", size)
        self.addCleanup(made.close)
        self.distribution = made
        self.names = [name for name, _, _ in self.sockets.public_listeners]
        self.pool = WorkerPool(made.changed, lambda _: None, made.send_updates)
        made.serve(self.pool)
        return made

    def bequeathed(self) -> InheritedState:
        """Return what a new master would have of this one."""
        channel, secret = socket.socketpair()
        for end in (channel, secret):
            self.addCleanup(end.close)
        channel.sendall(b"secret")
        listeners = tuple(
            (name, each.dup().detach())
            for name, each in self.sockets.inheritable_sockets()
        )
        made = InheritedState(
            UpgradeOffer(channel.dup().detach(), secret.dup().detach(), listeners)
        )
        self.addCleanup(made._channel.close)
        return made

    def run_in(self, *numbers: int) -> list[Filling]:
        """Fill each of these slots with a running process."""
        made = [self.fill(number) for number in numbers]
        self.distribution.changed()
        return made

    def fill(self, number: int) -> Filling:
        """Fill a slot; nobody hears of that yet."""
        filling = Filling(number, self.distribution.child_resources(number))
        self.pool.slots[number] = filling  # type: ignore[assignment]
        return filling

    def enters(self, filling: Filling, state: "State") -> None:
        """Set the state of the process in a slot."""
        filling.state = state
        self.distribution.changed()

    def policies(self) -> list[tuple[str, str | None, str]]:
        """Return how each listener is distributed, by which key, and who decides."""
        found = self.distribution.describe()["listeners"]
        return [(each["dispatch"], each["sticky"], each["by"]) for each in found]

    def set_policy(self, *wanted: str | None) -> str:
        """Distribute in another way."""
        policy, *others = wanted
        assert policy is not None
        return self.distribution.set_policy(Dispatch(policy, *others))

    def refused(self, *wanted: str | None) -> str:
        """Try to; return the error."""
        return str(self.assertRaises(ClusterError, self.set_policy, *wanted))

    def come(self, listener: int = 0, count: int = 1) -> list[int]:
        """Connect clients; return the number of connections queued for each slot."""
        listening = self.sockets.public_listeners[listener][2].socket
        for _ in range(count):
            self.connect(listening)
        self.reactor.run_dry()
        return self.waiting()

    def waiting(self) -> list[int]:
        found: Mapping[str, int] = self.distribution.describe()["waiting"]
        self.assertEqual(list(found), [str(number) for number in range(len(found))])
        return list(found.values())
