"""What a child serves, as a worker and as a core."""

import os
import socket
from typing import Any, cast

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from werkzeug.exceptions import NotFound

from clusterapp.http.syntax.request_head import Head
from clusterapp.settings.model import Settings
from clusterapp.web.loading import load
from clusterapp.worker.worker_site import serve
from tests.unit.worker.children import PLAIN, make_bootstrap


class ServeTests(SynchronousTestCase):
    """What a child serves."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.settings = Settings(app=PLAIN)

    def serve(self, role: Any) -> tuple[Any, Any]:
        listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listening.close)
        bootstrap = make_bootstrap(role, listening, self.addCleanup, generation=2)
        loaded = load(PLAIN, None, cast("Any", self.reactor))
        host, served = serve(self.reactor, bootstrap, self.settings, loaded)
        self.addCleanup(host.refuse)
        self.cluster = loaded.members[0].cluster
        return host, served

    def test_worker(self) -> None:
        """It knows its place, and sends to the core what is the core's."""
        host, served = self.serve("worker")
        self.assertEqual((self.cluster.role, self.cluster.slot), ("worker", 3))
        self.assertEqual(self.cluster.generation, 2)
        site = host.site
        for target, taken in (
            (b"/counter", True),
            (b"/counter?a=/b", True),
            (b"/", False),
            (b"/?/counter", False),
        ):
            found = site._forward(Head(b"GET", target, b"HTTP/1.1", []))
            if taken:
                self.assertEqual(found, served.proxy.forward)
            else:
                self.assertIsInstance(found[1], NotFound)

    def test_core(self) -> None:
        """It forwards nothing, to itself least of all."""
        host, served = self.serve("core")
        self.assertEqual(self.cluster.role, "core")
        self.assertIsNone(served)
        self.assertIsNone(host.site._forward)

    def test_errors_in_the_page(self) -> None:
        """Only those who develop are shown any, of workers and core alike."""
        for reload in (False, True):
            self.settings = Settings(app=PLAIN, reload=reload)
            for role in ("worker", "core"):
                host, _ = self.serve(role)
                self.assertIs(host.site.failure_page is not None, reload)

    def test_sockets_are_not_passed_on(self) -> None:
        """Processes that the application starts do not keep them open."""
        _, served = self.serve("worker")
        for acceptor in served.listeners._acceptors.values():
            self.assertFalse(os.get_inheritable(acceptor.fileno()))
        self.assertFalse(os.get_inheritable(served.listeners._receiver.fileno()))
