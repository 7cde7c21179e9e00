"""Memory that the master shares with its children."""

import fcntl
import mmap
import os

from twisted.trial.unittest import SynchronousTestCase

from clusterapp.channel.shared_memory import create_shared_memory
from tests.unit.fakes import descriptors
from tests.unit.test_layers import MODULES


class SharedMemoryTests(SynchronousTestCase):
    """No process that has its descriptor can change its size."""

    def test_sealed(self) -> None:
        """It can be written, but neither cut off, nor extended, nor unsealed."""
        memory = create_shared_memory("clusterapp-test", 8192)
        self.addCleanup(os.close, memory)
        with mmap.mmap(memory, 8192) as mapped:
            for size in (0, 4096, 16384):
                with self.assertRaises(PermissionError):
                    os.ftruncate(memory, size)
            with self.assertRaises(PermissionError):
                fcntl.fcntl(memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
            mapped[8191:] = b"x"
        self.assertEqual(os.pread(memory, 2, 8190), b"\0x")
        self.assertFalse(os.get_inheritable(memory))

    def test_not_created(self) -> None:
        """No descriptor is left behind."""
        before = descriptors()
        with self.assertRaises(OSError):
            create_shared_memory("clusterapp-test", -1)
        self.assertEqual(descriptors(), before)

    def test_only_way(self) -> None:
        """Nothing else of the package makes such memory."""
        makers = {
            path.name for path in MODULES if "memfd_create(" in path.read_text("utf-8")
        }
        self.assertEqual(makers, {"shared_memory.py"})
