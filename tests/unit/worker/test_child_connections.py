"""Connections of a child, accepted by it or by the master, and their clients."""

import socket
from typing import Any, cast

from clusterapp.channel.stickiness import Stickiness
from clusterapp.worker.child_program import ChildProgram
from tests.unit.master import master_apps
from tests.unit.worker.children import WORKER, ChildCase
from tests.unit.worker.inherited import LISTENER

REQUEST = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"

HOW = Stickiness((LISTENER,), "client-ip", (0, 3), "00")


def served_of(child: ChildProgram) -> Any:
    """Return what a child serves with; it has begun to."""
    assert child._served is not None
    return child._served


class AdoptTests(ChildCase):
    """Connections that other workers have accepted."""

    def adopt_in(self, child: ChildProgram, listener: str) -> socket.socket:
        """Pass a child a connection with a request; return the client's end."""
        near, far = socket.socketpair()
        self.addCleanup(near.close)
        near.send(REQUEST)
        child.adopt(far, listener)
        return near

    def test_served(self) -> None:
        """It goes on as a connection of the listener that it has come by."""
        child = self.begin()
        near = self.adopt_in(child, LISTENER)
        self.assertTrue(near.recv(65536).startswith(b"HTTP/1.1 404 "))
        [connection] = served_of(child).site._connections
        self.assertEqual(connection.listener, LISTENER)

    def test_unknown_listener(self) -> None:
        """An upgrade may have closed the listener; its clients are still served."""
        child = self.begin()
        for listener in ("", "7 tcp:87"):
            near = self.adopt_in(child, listener)
            self.assertTrue(near.recv(65536).startswith(b"HTTP/1.1 404 "))
        listeners = {each.listener for each in served_of(child).site._connections}
        self.assertEqual(listeners, {""})

    def test_nobody_to_serve_it(self) -> None:
        """While it boots, and in a core; the client learns it at once."""
        master_apps.pending(master_apps.START)
        for child in (self.begin(WORKER), self.begin(role="core")):
            near = self.adopt_in(child, LISTENER)
            self.assertRaises(ConnectionResetError, near.recv, 1)


class OrdersTests(ChildCase):
    """What the master has changed of how connections are distributed."""

    def accept_in(self, child: ChildProgram) -> socket.socket:
        """Make a child accept from another listening socket; return the socket."""
        listening = socket.create_server(("127.0.0.1", 0))
        child.accept(LISTENER, listening, shared=False)
        return listening

    def acceptor(self, child: ChildProgram) -> Any:
        """Return what accepts a listener's connections, if anything does."""
        return served_of(child).listeners._acceptors.get(LISTENER)

    def test_accept(self) -> None:
        """From another socket, and from no other one."""
        child = self.begin()
        before = self.acceptor(child)._watched
        listening = self.accept_in(child)
        self.assertIs(self.acceptor(child)._watched, listening)
        self.assertEqual(before.fileno(), -1)

    def test_refuse(self) -> None:
        child = self.begin()
        child.refuse(LISTENER)
        self.assertIsNone(self.acceptor(child))
        child.refuse(LISTENER)

    def test_accept_while_it_leaves(self) -> None:
        """That would be too late: nobody would close the socket."""
        master_apps.pending(master_apps.STOP)
        child = self.begin(WORKER)
        child.drain(spread=0.0, hand_over=False)
        self.assertEqual(self.accept_in(child).fileno(), -1)
        self.assertIsNone(self.acceptor(child))
        self.reactor.advance(5)
        self.flushLoggedErrors()

    def test_stick(self) -> None:
        child = self.begin()
        affinity = served_of(child).affinity
        self.assertEqual(affinity.listeners, frozenset())
        child.update_affinity(HOW.to_json())
        self.assertEqual(affinity.listeners, {LISTENER})

    def test_nothing_to_change(self) -> None:
        """A child that is no worker, or none yet, keeps no socket open."""
        master_apps.pending(master_apps.START)
        for child in (self.begin(WORKER), self.begin(role="core")):
            self.assertEqual(self.accept_in(child).fileno(), -1)
            child.refuse(LISTENER)
            child.update_affinity(HOW.to_json())
            self.assertIsNone(cast("Any", child)._served)
