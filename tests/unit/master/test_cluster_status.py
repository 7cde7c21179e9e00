"""What a master tells of itself."""

from dataclasses import dataclass
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from clusterapp.interfaces import StaticFolder
from clusterapp.master.cluster_status import static_of


@dataclass
class Slot:
    """As much of a slot as is asked for."""

    generation: int
    static: StaticFolder | None


class StaticTests(SynchronousTestCase):
    """Where the static files are."""

    def test_of_the_newest(self) -> None:
        old, new = StaticFolder("/static/", "/srv/1"), StaticFolder("/s/", "/srv/2")
        slots: list[Any] = [Slot(1, old), Slot(2, new), Slot(1, old)]
        self.assertEqual(static_of(slots), {"url": "/s/", "folder": "/srv/2"})

    def test_none(self) -> None:
        """The newest has none; or nobody is there to ask."""
        slots: list[Any] = [Slot(1, StaticFolder("/s/", "/srv")), Slot(2, None)]
        self.assertIsNone(static_of(slots))
        self.assertIsNone(static_of([]))
