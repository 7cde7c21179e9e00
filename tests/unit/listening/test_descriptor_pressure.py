"""What a process knows of the descriptors that it has left."""

from resource import RLIMIT_NOFILE, getrlimit, setrlimit

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.listening.descriptor_pressure import Descriptors
from tests.unit.arriving import descriptors_left
from tests.unit.fakes import descriptors


class DescriptorsTests(SynchronousTestCase):
    """A limit that leaves some hundred."""

    def setUp(self) -> None:
        limits = getrlimit(RLIMIT_NOFILE)
        self.addCleanup(setrlimit, RLIMIT_NOFILE, limits)
        self.used = len(descriptors())
        setrlimit(RLIMIT_NOFILE, (self.used + 200, limits[1]))
        self.room = Descriptors(Clock(), lambda: 0)

    def test_free(self) -> None:
        """Whatever they are used for, they count; spare ones are not given away."""
        self.assertTrue(self.room.has_free(190 - self.room.spare))
        self.assertFalse(self.room.has_free(201 - self.room.spare))

    def test_none_left(self) -> None:
        """Then the folder that lists them may not be opened, either."""
        with descriptors_left(0):
            room = Descriptors(Clock(), lambda: 0)
            self.assertFalse(room.has_free(1))
