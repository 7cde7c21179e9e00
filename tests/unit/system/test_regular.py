"""Files that somebody else names: nothing that waits, or never ends, is read."""

import errno
import os
import socket
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from clusterapp.system.regular import check_writable, opened, read_regular
from tests.unit.fakes import descriptors


class RegularTests(SynchronousTestCase):
    """A folder in which anything may be."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="clusterapp-")
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name, "shop.pem")
        self.before = descriptors()

    def assert_refused(self, reason: str, path: Path | None = None) -> None:
        for reader in (read_regular, _opened):
            error = self.assertRaises(OSError, reader, path or self.path)
            self.assertIn(reason, error.strerror)
        self.assertEqual(descriptors(), self.before)

    def test_a_file(self) -> None:
        """By its name, or by a link to it; by its descriptor, too."""
        self.path.write_bytes(b"content")
        link = self.path.with_name("link")
        link.symlink_to(self.path)
        for path in (self.path, str(self.path), link):
            self.assertEqual(read_regular(path), b"content")
        with opened(link) as descriptor:
            again = Path(f"/proc/self/fd/{descriptor}")
            self.assertEqual(again.read_bytes(), b"content")
        self.assertEqual(descriptors(), self.before)

    def test_fifo(self) -> None:
        """Nobody waits for its writer."""
        os.mkfifo(self.path)
        self.assert_refused("not a regular file")

    def test_devices(self) -> None:
        """Some never end, and some never begin."""
        for device in ("/dev/zero", "/dev/null"):
            self.assert_refused("not a regular file", Path(device))

    def test_others(self) -> None:
        self.assert_refused("No such file")
        self.path.mkdir()
        self.assert_refused("Is a directory")
        self.path.rmdir()
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(self.path))
        self.assert_refused("No such device or address")

    def test_too_large(self) -> None:
        self.path.write_bytes(b"12345")
        self.assertEqual(read_regular(self.path, 5), b"12345")
        error = self.assertRaises(OSError, read_regular, self.path, 4)
        self.assertIn("more than 4 bytes", error.strerror)

    def test_writable(self) -> None:
        """What can be appended to, or made; nothing is made or waited for."""
        check_writable(self.path)
        self.assertFalse(self.path.exists())
        self.path.touch()
        check_writable(str(self.path))
        self.assertRaises(FileNotFoundError, check_writable, "/nowhere/a.log")
        self.assertRaises(IsADirectoryError, check_writable, self.path.parent)
        fifo = self.path.with_name("fifo")
        os.mkfifo(fifo)
        error = self.assertRaises(OSError, check_writable, fifo)
        self.assertEqual(error.errno, errno.ENXIO)
        self.patch(os, "access", lambda _, mode: not mode & os.W_OK)
        beside = self.path.with_name("b")
        self.assertRaises(PermissionError, check_writable, beside)
        self.assertEqual(descriptors(), self.before)


def _opened(path: Path) -> None:
    with opened(path):
        pass
