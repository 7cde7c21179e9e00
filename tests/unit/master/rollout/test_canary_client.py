"""The client that a worker on trial sees."""

import socket
import tempfile

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.http.syntax.client_origin import Origin
from clusterapp.listening.listen_sockets import Listener
from clusterapp.master.rollout.canary_client import CanaryClient


class TrialClientTests(SynchronousTestCase):
    """One of each kind of listener."""

    def listener(
        self, family: socket.AddressFamily, name: object, scheme: str = "http"
    ) -> Listener:
        bound = socket.socket(family)
        self.addCleanup(bound.close)
        bound.bind(name)  # type: ignore[arg-type]
        return Listener("x", bound, scheme=scheme)

    def test_tcp(self) -> None:
        """It is on this machine, and has the listener's address, port and scheme."""
        for host, scheme in (("127.0.0.1", "http"), ("0.0.0.0", "https")):
            listener = self.listener(socket.AF_INET, (host, 0), scheme)
            port = listener.socket.getsockname()[1]
            client = CanaryClient.of(listener)
            self.assertEqual(
                client.origin,
                Origin(
                    IPv4Address("TCP", "127.0.0.1", 0),
                    IPv4Address("TCP", "127.0.0.1", port),
                    scheme == "https",
                ),
            )
            self.assertEqual(client.host, b"localhost:%d" % port)

    def test_ipv6(self) -> None:
        listener = self.listener(socket.AF_INET6, ("::", 0))
        port = listener.socket.getsockname()[1]
        client = CanaryClient.of(listener)
        self.assertEqual(client.origin.host, IPv6Address("TCP", "::1", port, 0, 0))

    def test_unix(self) -> None:
        """One of a Unix socket has no address, as there."""
        with tempfile.TemporaryDirectory() as folder:
            client = CanaryClient.of(self.listener(socket.AF_UNIX, f"{folder}/s"))
        nowhere = UNIXAddress(None)
        self.assertEqual(client.origin, Origin(nowhere, nowhere, secure=False))
        self.assertEqual(
            list(client.get("/x").fields),
            [
                client.origin.field,
                (b"Host", b"localhost"),
                (b"User-Agent", b"clusterapp"),
            ],
        )
