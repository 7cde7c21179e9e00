"""Clients that a real HAProxy announces by the PROXY protocol."""

import http.client
import json
import re
import socket
import ssl
import tempfile
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any, ClassVar

import trustme
from twisted.trial.unittest import SynchronousTestCase

from tests.integration.haproxy import haproxy, through
from tests.integration.running import (
    APPS,
    DEADLINE,
    RunningCluster,
    cluster,
    eventually,
)
from tests.unit.http.tls.pem_files import chain, key

#: Where the client connects to HAProxy from; HAProxy itself is 127.0.0.1.
CLIENT = "127.0.0.7"


def ask(
    connection: socket.socket, target: str = "/who", more: bytes = b""
) -> dict[str, Any]:
    """Request the client address that the cluster sees; keep the connection."""
    connection.sendall(
        b"GET %b HTTP/1.1\r\nHost: localhost\r\n%b\r\n" % (target.encode(), more)
    )
    with closing(http.client.HTTPResponse(connection)) as response:
        response.begin()
        assert response.status == 200, response.status
        told: dict[str, Any] = json.loads(response.read())
        return told


def listen(kind: str, server: str, *, bind: str = "", mode: str = "tcp") -> str:
    """Write a section of HAProxy's configuration."""
    return "\n".join(
        [
            f"listen {kind}",
            f"    mode {mode}",
            f"    bind {{bind}} {bind}",
            f"    server cluster {server}",
        ]
    )


class HaproxyCase(SynchronousTestCase):
    """
    A folder with certificates.

    :cvar folder: where they are.
    :cvar tls: how clients check them.
    """

    folder: ClassVar[Path]
    tls: ClassVar[ssl.SSLContext]

    @classmethod
    def setUpClass(cls) -> None:
        """Issue them."""
        super().setUpClass()
        folder = tempfile.TemporaryDirectory(prefix="clusterapp-")
        cls.folder = Path(cls.enterClassContext(folder))
        authority = trustme.CA()
        leaf = authority.issue_cert("localhost")
        (cls.folder / "cert").write_bytes(chain(leaf))
        (cls.folder / "key").write_bytes(key(leaf))
        (cls.folder / "both").write_bytes(chain(leaf) + key(leaf))
        cls.tls = ssl.create_default_context()
        authority.configure_trust(cls.tls)

    @classmethod
    def running_with(
        cls, *specs: str, trusted: str = "127.0.0.1,unix", log: str = "access.log"
    ) -> AbstractContextManager[RunningCluster]:
        """Run a cluster with these listeners, besides its usual one."""
        flags = [word for spec in specs for word in ("--listen", spec)]
        return cluster(
            *("--app", "whoami:app", "--trusted-proxies", trusted, *flags),
            *("--access-log", str(cls.folder / log)),
            workers=1,
            env={"PYTHONPATH": str(APPS)},
        )

    def address(self, running: RunningCluster, number: int = 1) -> str:
        """Return the address of a listener, as HAProxy writes it."""
        found = re.findall(r"listening at https?://(127\.0\.0\.1:\d+)", running.text())
        return str(found[number])


class HaproxyTests(HaproxyCase):
    """
    What an application hears of a client that comes through HAProxy.

    :cvar running: a cluster with a listener of each kind.
    """

    running: ClassVar[RunningCluster]

    @classmethod
    def setUpClass(cls) -> None:
        """Run it while there are tests."""
        super().setUpClass()
        spec = "tcp:0:interface=127.0.0.1:proxy="
        tls = (
            f"tls:0:interface=127.0.0.1:certificate={cls.folder}/cert"
            f":key={cls.folder}/key:proxy=auto"
        )
        unix = f"unix:{cls.folder}/site.sock:proxy=v2"
        cls.running = cls.enterClassContext(
            cls.running_with(f"{spec}v1", f"{spec}v2", f"{spec}auto", tls, unix)
        )

    def test_versions(self) -> None:
        """In the worker, the core and the access log, on connections that are kept."""
        first, second, either = (self.address(self.running, n) for n in (1, 2, 3))
        sections = (
            listen("v1", f"{first} send-proxy"),
            listen("v2", f"{second} send-proxy-v2 proxy-v2-options crc32c"),
            listen("either1", f"{either} send-proxy"),
            listen("either2", f"{either} send-proxy-v2"),
        )
        with haproxy(*sections) as addresses:
            for address in addresses:
                with through(address, source=CLIENT) as connection:
                    told = ask(connection, "/who?versions")
                    self.assertEqual(told["host"], CLIENT)
                    self.assertEqual(told["port"], connection.getsockname()[1])
                    self.assertFalse(told["secure"])
                    claim = b"X-Forwarded-For: 6.6.6.6\r\n"
                    self.assertEqual(ask(connection, "/who?versions", claim), told)
                    core = ask(connection, "/core/who?versions", claim)
                    self.assertEqual(core["host"], CLIENT)
        log = self.folder / "access.log"
        eventually(lambda: log.read_text().count("/who?versions ") == 12)
        self.assertEqual(
            {line.split()[0] for line in log.read_text().splitlines()}, {CLIENT}
        )
        self.assertNotIn("refused", self.running.text())

    def test_before_tls(self) -> None:
        """HAProxy passes TLS on, which begins behind its header."""
        server = self.address(self.running, 4)
        sections = (
            listen("v1", f"{server} send-proxy"),
            listen("v2", f"{server} send-proxy-v2"),
        )
        with haproxy(*sections) as addresses:
            for address in addresses:
                raw = through(address, source=CLIENT)
                with self.tls.wrap_socket(raw, server_hostname="localhost") as tls:
                    for target in ("/who", "/core/who"):
                        told = ask(tls, target)
                        self.assertEqual(told["host"], CLIENT)
                        self.assertTrue(told["secure"])

    def test_tls_that_ends_in_haproxy(self) -> None:
        """Version 2 says that the client came over TLS."""
        server = f"{self.address(self.running, 2)} send-proxy-v2-ssl"
        section = listen("tls", server, bind=f"ssl crt {self.folder}/both")
        with haproxy(section, listen("plain", server)) as (outer, plain):
            raw = through(outer, source=CLIENT)
            with self.tls.wrap_socket(raw, server_hostname="localhost") as tls:
                for target in ("/who", "/core/who"):
                    told = ask(tls, target)
                    self.assertEqual((told["host"], told["secure"]), (CLIENT, True))
            with through(plain, source=CLIENT) as connection:
                self.assertFalse(ask(connection)["secure"])

    def test_unix_socket(self) -> None:
        server = f"unix@{self.folder}/site.sock send-proxy-v2"
        with (
            haproxy(listen("unix", server)) as [address],
            through(address, source=CLIENT) as connection,
        ):
            self.assertEqual(ask(connection)["host"], CLIENT)


class OtherClusterTests(HaproxyCase):
    """The same, of a cluster that trusts others, or whose log has other lines."""

    def test_chain_behind_it(self) -> None:
        """The announced peer may be a trusted proxy, too."""
        spec = "tcp:0:interface=127.0.0.1:proxy=v2"
        with self.running_with(spec, trusted="127.0.0.0/8") as running:
            server = f"{self.address(running)} send-proxy-v2"
            with (
                haproxy(listen("v2", server)) as [address],
                through(address, source=CLIENT) as connection,
            ):
                claims = b"X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n"
                for target in ("/who", "/core/who"):
                    self.assertEqual(
                        ask(connection, target, claims),
                        {"host": "192.0.2.1", "port": 0, "secure": True},
                    )

    def test_health_checks(self) -> None:
        """HAProxy's own requests are its own, and no reason to say anything."""
        spec = "tcp:0:interface=127.0.0.1:proxy=v2"
        with self.running_with(spec, log="checks.log") as running:
            server = f"{self.address(running)} send-proxy-v2 check inter 50ms"
            section = listen("checked", server, mode="http")
            section += "\n    option httpchk GET /who\n    option forwardfor"
            with haproxy(section) as [address]:
                log = self.folder / "checks.log"
                eventually(lambda: log.exists() and log.read_text().count("\n") > 2)
                with through(address, source=CLIENT) as connection:
                    self.assertEqual(ask(connection)["host"], CLIENT)
            self.assertIn("127.0.0.1", log.read_text().split()[0])
            self.assertNotIn("refused", running.text())


class RefusedTests(SynchronousTestCase):
    """Untrusted and malformed headers are refused; other clients are served."""

    def test_not_announced(self) -> None:
        """The listener without the word goes on, and so does the one with it."""
        spec = "tcp:0:interface=127.0.0.1:proxy=v2"
        flags = ("--app", "whoami:app", "--listen", spec)
        with cluster(*flags, workers=1, env={"PYTHONPATH": str(APPS)}) as running:
            found = re.findall(
                r"listening at http://127\.0\.0\.1:(\d+)", running.text()
            )
            port = int(found[1])
            for first in (b"GET /who HTTP/1.1\r\nHost: h\r\n\r\n", b"PROXY TCP4 x\r\n"):
                with socket.create_connection(("127.0.0.1", port), DEADLINE) as wrong:
                    wrong.sendall(first)
                    self.assertEqual(read_all(wrong), b"")
            running.wait_for("refused a connection of 127.0.0.1 to tcp:0.*PROXY header")
            # The other listener expects no header, and takes none.
            with running.connect() as wrong:
                wrong.sendall(b"PROXY TCP4 192.0.2.1 10.0.0.1 1 2\r\n\r\n")
                self.assertIn(b" 400 ", read_all(wrong))
            server = f"127.0.0.1:{port} send-proxy-v2"
            with (
                haproxy(listen("good", server)) as [address],
                through(address, source=CLIENT) as connection,
            ):
                self.assertEqual(ask(connection)["host"], CLIENT)

    def test_stranger(self) -> None:
        """A valid header of an untrusted peer is refused: clients can forge it."""
        spec = "tcp:0:interface=127.0.0.1:proxy=auto"
        flags = ("--app", "whoami:app", "--listen", spec, "--trusted-proxies", "unix")
        with cluster(*flags, workers=1, env={"PYTHONPATH": str(APPS)}) as running:
            found = re.findall(
                r"listening at http://127\.0\.0\.1:(\d+)", running.text()
            )
            server = f"127.0.0.1:{found[1]} send-proxy"
            with (
                haproxy(listen("v1", server)) as [address],
                through(address) as connection,
            ):
                connection.sendall(b"GET /who HTTP/1.1\r\nHost: h\r\n\r\n")
                self.assertEqual(read_all(connection), b"")
            running.wait_for("refused a connection of 127.0.0.1.*trusted_proxies")


def read_all(connection: socket.socket) -> bytes:
    """Read until the end, which may be a reset."""
    received = b""
    try:
        while piece := connection.recv(65536):
            received += piece
    except ConnectionResetError:
        pass
    return received
