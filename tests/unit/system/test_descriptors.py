"""Sockets made from descriptors, whatever default timeout an application has set."""

import ast
import os
import socket
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from clusterapp.system.descriptors import (
    adopt_inherited,
    adopt_shared,
    adopt_socket,
    copy_socket,
    socket_pair,
)
from tests.unit.fakes import descriptors

PACKAGE = Path(__file__).resolve().parents[3] / "clusterapp"


class DefaultTimeoutTests(SynchronousTestCase):
    """`socket.setdefaulttimeout` in an application changes nothing of ours."""

    def setUp(self) -> None:
        socket.setdefaulttimeout(8.0)
        self.addCleanup(socket.setdefaulttimeout, None)

    def pair(self) -> tuple[socket.socket, socket.socket]:
        pair = socket.socketpair()
        for each in pair:
            self.addCleanup(each.close)
        return pair

    def assert_non_blocking(self, made: socket.socket) -> None:
        self.assertEqual(made.gettimeout(), 0.0)
        self.assertFalse(os.get_blocking(made.fileno()))

    def test_adopted(self) -> None:
        """It does not block, and reading it fails at once."""
        one, _ = self.pair()
        for kind in ((), ((-1, int(socket.SOCK_STREAM), 0),)):
            made = adopt_socket(os.dup(one.fileno()), *kind)
            self.addCleanup(made.close)
            self.assert_non_blocking(made)
            self.assertEqual(made.family, socket.AF_UNIX)
            self.assertRaises(BlockingIOError, made.recv, 1)

    def test_inherited(self) -> None:
        one, _ = self.pair()
        number = os.dup(one.fileno())
        os.set_inheritable(number, True)
        made = adopt_inherited(number)
        self.addCleanup(made.close)
        self.assert_non_blocking(made)
        self.assertFalse(made.get_inheritable())

    def test_copied(self) -> None:
        made = copy_socket(self.pair()[0])
        self.addCleanup(made.close)
        self.assert_non_blocking(made)

    def test_copy_of_what_is_no_socket(self) -> None:
        """Nothing stays open."""
        before = descriptors()
        with Path(os.devnull).open("rb") as file:
            self.assertRaises(OSError, copy_socket, file)
        self.assertEqual(descriptors(), before)

    def test_pair(self) -> None:
        for made in socket_pair():
            self.addCleanup(made.close)
            self.assert_non_blocking(made)

    def test_shared(self) -> None:
        """A shared socket keeps its blocking mode."""
        one, _ = self.pair()
        for blocks in (True, False):
            one.setblocking(blocks)
            made = adopt_shared(os.dup(one.fileno()))
            self.addCleanup(made.close)
            self.assertEqual(os.get_blocking(one.fileno()), blocks)
            self.assertIsNone(made.gettimeout())


class OneWayTests(SynchronousTestCase):
    """No other module makes sockets of descriptors."""

    def test_no_module_makes_sockets_of_descriptors_by_itself(self) -> None:
        """It would have to think of the default timeout by itself, too."""
        for path in PACKAGE.rglob("*.py"):
            if path.name == "descriptors.py":
                continue
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if not isinstance(node, ast.Call):
                    continue
                called = ast.unparse(node.func)
                keywords = {keyword.arg for keyword in node.keywords}
                self.assertNotIn(called, {"socket.socketpair", "socket.fromfd"}, path)
                if called in {"socket.socket", "socket"}:
                    self.assertNotIn("fileno", keywords, path)
