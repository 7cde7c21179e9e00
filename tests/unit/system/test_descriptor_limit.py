"""The limit of descriptors."""

import resource

from twisted.logger import LogLevel
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.system.descriptor_limit import (
    MOST,
    part_of_descriptors,
    raise_descriptor_limit,
    warn_of_low_limit,
)
from tests.unit.fakes import Log


class LimitTests(SynchronousTestCase):
    """The soft limit becomes the hard one."""

    def limits(self, soft: int, hard: int) -> list[tuple[int, int]]:
        """Raise the limit from these limits; return the limits that are set."""
        found: list[tuple[int, int]] = []
        self.patch(resource, "getrlimit", lambda _: (soft, hard))
        self.patch(resource, "setrlimit", lambda _, limits: found.append(limits))
        raise_descriptor_limit()
        return found

    def test_raised(self) -> None:
        self.assertEqual(self.limits(1024, 4096), [(4096, 4096)])

    def test_hard_limit_stays(self) -> None:
        """Though it is a billion, as in some containers, or none."""
        for hard in (10**9, resource.RLIM_INFINITY):
            self.assertEqual(self.limits(1024, hard), [(MOST, hard)])

    def test_high_enough(self) -> None:
        for soft, hard in ((4096, 4096), (MOST, 10**9), (10**9, 10**9)):
            self.assertEqual(self.limits(soft, hard), [])

    def test_low_hard_limit_is_told(self) -> None:
        log = Log(self)
        for hard, lines in ((4096, 0), (resource.RLIM_INFINITY, 0), (1024, 1)):
            self.limits(1024, hard)
            warn_of_low_limit()
            self.assertEqual(len(log.lines(LogLevel.warn)), lines, hard)

    def test_part(self) -> None:
        """A quarter of the descriptors, where that is less than the bound."""
        for soft, part in ((256, 64), (4096, 1024), (10**6, 1024), (-1, 1024)):
            self.patch(resource, "getrlimit", lambda _, soft=soft: (soft, 10**9))
            self.assertEqual(part_of_descriptors(1024), part)
