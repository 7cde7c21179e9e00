"""The same request in its worker, in another one and in the core: the same client."""

import http.client
import json
import re
import socket
import ssl
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import trustme
from twisted.trial.unittest import SynchronousTestCase

from tests.integration.running import APPS, DEADLINE, RunningCluster, cluster

#: Clients of these belong to one or the other of two slots.
KEYS = range(8)

PROXY = (
    "X-Forwarded-For: 6.6.6.6, 192.0.2.1\r\nX-Forwarded-Proto: https\r\n"
    "X-Real-IP: 192.0.2.1\r\n"
)
HEADS = {
    "plain": "Host: shop.example\r\n",
    "proxy": f"Host: shop.example:8443\r\n{PROXY}",
    "named": f"Host: shop.example\r\n{PROXY}Connection: X-Forwarded-For, "
    "X-Forwarded-Proto, X-Real-IP, Forwarded\r\n",
    "named in odd ways": "Connection: ,, x-forwarded-FOR ,\r\nHost: shop.example\r\n"
    f"{PROXY}CONNECTION:\tX-FORWARDED-proto\t,host\r\nConnection:\r\n",
    "named with the others": f"Host: shop.example\r\n{PROXY}Authorization: Basic eDp5"
    "\r\nCookie: a=1\r\nConnection: keep-alive, Authorization, Cookie, Host, "
    "Clusterapp-From\r\nKeep-Alive: 5\r\nProxy-Connection: X-Forwarded-For\r\n"
    "TE: trailers\r\nTrailer: X-Forwarded-For\r\nUpgrade: X-Forwarded-For\r\n",
    "forwarded": "Host: shop.example\r\nConnection: Forwarded\r\n"
    'Forwarded: for="[2001:db8::1]:99";proto=https;host=other\r\n',
    "forged": "Clusterapp-From: 1 192.0.2.9 9 192.0.2.8 443\r\nHost: shop.example\r\n"
    "clusterapp-from: 1 192.0.2.9 9 192.0.2.8 443\r\n"
    "Clusterapp_From: 1 192.0.2.9 9 192.0.2.8 443\r\n",
    "underscores": "Host: shop.example\r\nX_Forwarded_For: 192.0.2.7\r\n"
    "X_Forwarded_Proto: https\r\n",
    "hidden": "Host: shop.example\r\nX-Forwarded-For: unknown\r\n",
    "no address": "Host: shop.example\r\nX-Forwarded-For: , ;,\r\n",
    "IPv6": "Host: [2001:db8::2]:8080\r\n",
    "IPv6 without a port": "Host: [::1]\r\n",
    "empty": "Host:\r\n",
    "port only": "Host: :8080\r\n",
    "of another host": "Host: shop.example\r\nX-Forwarded-Host: evil.example\r\n",
}


def request(path: str, fields: str, key: int, version: str = "1.1") -> bytes:
    """Write a request of a client that belongs to a slot."""
    line = f"GET {path} HTTP/{version}\r\n"
    return f"{line}X-Key: {key}\r\n{fields}\r\n".encode()


def answer(connection: socket.socket) -> tuple[dict[str, str], bytes]:
    """Read a response that must be there."""
    with closing(http.client.HTTPResponse(connection)) as response:
        response.begin()
        body = response.read()
        assert response.status == 200, (response.status, body)
        return dict(response.getheaders()), body


class AlikeCase(SynchronousTestCase):
    """
    Worker, relay and core show applications the same facts of a client.

    :cvar path: the path of its Unix socket.
    :cvar running: the cluster; no test changes it.
    """

    path: ClassVar[str]
    running: ClassVar[RunningCluster]

    @classmethod
    def run_cluster(cls, *flags: str) -> None:
        """Run it with these settings, while there are tests."""
        folder = tempfile.TemporaryDirectory(prefix="clusterapp-")
        cls.path = str(Path(cls.enterClassContext(folder)) / "socket")
        sticky = ("--dispatch", "sticky", "--sticky", "header:X-Key")
        started = cluster(
            *("--app", "seen:app", *sticky, "--listen", f"unix:{cls.path}", *flags),
            env={"PYTHONPATH": str(APPS)},
        )
        cls.running = cls.enterClassContext(started)

    def unix(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(DEADLINE)
        connection.connect(self.path)
        return connection

    def alike(self, connection: socket.socket, fields: str) -> Any:
        """
        Ask for the same everywhere by one connection; return what was seen.

        The first worker passes what belongs to the other one on to it.
        """
        told, slots = [], set()
        for key in KEYS:
            connection.sendall(request("/seen", fields, key))
            head, body = answer(connection)
            slots.add(head["X-Slot"])
            told.append(json.loads(body))
        self.assertEqual(slots, {"0", "1"}, "nothing was passed on")
        connection.sendall(request("/seen-by-the-core", fields, 0))
        told.append(json.loads(answer(connection)[1]))
        for each in told[1:]:
            self.assertEqual(each, told[0])
        self.assertIsNone(told[0]["own"])
        return told[0]

    def all_alike(self) -> tuple[Any, Any]:
        """Ask with every head by TCP and by a Unix socket."""
        by_tcp, by_unix = {}, {}
        with closing(self.running.connect()) as tcp, closing(self.unix()) as unix:
            for name, fields in HEADS.items():
                by_tcp[name] = self.alike(tcp, fields)
                by_unix[name] = self.alike(unix, fields)
                host, port = tcp.getsockname()
                if by_tcp[name]["client"][2]:
                    self.assertEqual(by_tcp[name]["client"][1:], [host, port])
                self.assertEqual(by_tcp[name]["host"][1:], [host, self.running.port])
        return by_tcp, by_unix


class TrustedTests(AlikeCase):
    """
    Trusted proxies, and the core in the master.

    :cvar authority: issues the certificates of the listener with TLS, and of clients.
    """

    authority: ClassVar[trustme.CA]

    @classmethod
    def setUpClass(cls) -> None:
        """Run the cluster, with a listener with TLS, too."""
        super().setUpClass()
        folder = tempfile.TemporaryDirectory(prefix="clusterapp-")
        papers = Path(cls.enterClassContext(folder)) / "papers"
        ca = papers.with_name("ca")
        cls.authority = trustme.CA()
        leaf = cls.authority.issue_cert("127.0.0.1")
        leaf.private_key_and_cert_chain_pem.write_to_path(str(papers))
        cls.authority.cert_pem.write_to_path(str(ca))
        spec = f"tls:0:certificate={papers}:key={papers}:ca={ca}:interface=127.0.0.1"
        cls.run_cluster("--core", "master", "--listen", spec)

    def test_trusted_proxies(self) -> None:
        """What they say counts everywhere, whatever Connection names."""
        for seen in self.all_alike():
            for name in (
                "proxy",
                "named",
                "named in odd ways",
                "named with the others",
            ):
                self.assertEqual(
                    seen[name]["client"], ["IPv4Address", "192.0.2.1", 0], name
                )
                self.assertTrue(seen[name]["secure"], name)
                self.assertEqual(seen[name]["client ip"], "192.0.2.1")
            self.assertEqual(seen["proxy"]["url"], "https://shop.example:8443")
            self.assertEqual(seen["forwarded"]["client"][1], "2001:db8::1")
            self.assertEqual(seen["forwarded"]["url"], "https://shop.example")
            others = seen["named with the others"]
            self.assertEqual(others["authorization"], "Basic eDp5")
            self.assertEqual(others["cookie"], "b'1'")
            for name in ("plain", "forged", "underscores", "hidden"):
                self.assertEqual(seen[name]["client"][1], "127.0.0.1", name)
                self.assertFalse(seen[name]["secure"], name)
            self.assertEqual(seen["IPv6"]["url"], "http://[2001:db8::2]:8080")
            self.assertEqual(seen["IPv6"]["name"], "2001:db8::2")
            self.assertEqual(seen["IPv6 without a port"]["url"], "http://[::1]")
            self.assertEqual(seen["of another host"]["url"], "http://shop.example")

    def test_targets_and_versions(self) -> None:
        """An absolute target names the host; HTTP/1.0 need not name any."""
        absolute = "http://other.example:81"
        for host, version, target, url in (
            ("Host: shop.example\r\n", "1.1", absolute, absolute),
            ("", "1.0", absolute, absolute),
            ("", "1.0", "", f"http://127.0.0.1:{self.running.port}"),
            ("Host: shop.example\r\n", "1.0", "", "http://shop.example"),
        ):
            told = []
            for path in ("/seen", "/seen-by-the-core"):
                for key in KEYS:
                    with closing(self.running.connect()) as connection:
                        connection.sendall(request(target + path, host, key, version))
                        one = json.loads(answer(connection)[1])
                    del one["client"], one["client attribute"], one["peer"]
                    told.append(one)
            for one in told:
                self.assertEqual(one, told[0])
            self.assertEqual(told[0]["url"], url)

    def test_certificate(self) -> None:
        """A client's certificate is seen everywhere, as an X509 of pyOpenSSL."""
        tls = ssl.create_default_context()
        self.authority.configure_trust(tls)
        client = self.authority.issue_cert("alice", organization_name="Alice's")
        client.configure_cert(tls)
        found = re.search(r"https://127\.0\.0\.1:(\d+)", self.running.text())
        assert found is not None
        address = "127.0.0.1", int(found[1])
        plain = socket.create_connection(address, timeout=DEADLINE)
        with tls.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
            seen = self.alike(connection, HEADS["plain"])
            self.assertEqual(seen["certificate"], "Alice's")
            self.assertEqual((seen["secure"], seen["encrypted"]), (True, True))
            self.assertEqual(seen["url"], "https://shop.example")
            self.assertEqual(seen["client"][1:], [*connection.getsockname()])


class StrangerTests(AlikeCase):
    """Peers that are no trusted proxies, and an isolated core."""

    @classmethod
    def setUpClass(cls) -> None:
        """Run the cluster."""
        super().setUpClass()
        cls.run_cluster("--core", "isolated", "--trusted-proxies", "10.0.0.0/8")

    def test_stranger(self) -> None:
        """Nothing that it says counts; a Unix socket's peer has a stand-in."""
        by_tcp, by_unix = self.all_alike()
        for seen in by_tcp, by_unix:
            for name in HEADS:
                self.assertEqual(seen[name]["client"][1], "127.0.0.1", name)
                self.assertFalse(seen[name]["secure"], name)
        for name in ("empty", "port only"):
            self.assertEqual(
                by_tcp[name]["url"], f"http://127.0.0.1:{self.running.port}"
            )
            self.assertEqual(by_tcp[name]["name"], "127.0.0.1")
            self.assertEqual(by_unix[name]["name"], "localhost")
        self.assertEqual(by_unix["empty"]["url"], "http://localhost")
        self.assertEqual(by_unix["plain"]["client"], ["IPv4Address", "127.0.0.1", 0])
        self.assertEqual(by_unix["plain"]["host"][1:], ["127.0.0.1", 80])
        self.assertEqual(by_unix["IPv6"]["host"][1:], ["127.0.0.1", 8080])


class ContextTests(SynchronousTestCase):
    """
    Context variables, and redirects.

    :cvar clusters: one with its core in the master, and one with an isolated core.
    """

    clusters: ClassVar[list[RunningCluster]]

    @classmethod
    def setUpClass(cls) -> None:
        """Run them while there are tests."""
        super().setUpClass()
        cls.clusters = [
            cls.enterClassContext(
                cluster(
                    *("--app", "seen:app", "--core", place),
                    workers=1,
                    env={"PYTHONPATH": str(APPS)},
                )
            )
            for place in ("master", "isolated")
        ]

    def test_context_variables(self) -> None:
        """What a handler sets, no other request sees, even of the same connection."""
        for running in self.clusters:
            with closing(running.connect()) as kept:
                for path in ("", "/core"):
                    heard = []
                    for name in ("login/alice", "who", "login/bob", "who"):
                        kept.sendall(request(f"{path}/{name}", "Host: h\r\n", 0))
                        heard.append(answer(kept)[1])
                    # Also where they come at once.
                    both = [f"{path}/login/eve", f"{path}/who"]
                    kept.sendall(b"".join(request(b, "Host: h\r\n", 0) for b in both))
                    with kept.makefile("rb") as reader:
                        text = b""
                        while b"nobody" not in text:
                            text += reader.read1()
                    self.assertEqual(heard, [b"alice", b"nobody", b"bob", b"nobody"])
                    self.assertEqual(running.get(f"{path}/who"), b"nobody")

    def test_redirects(self) -> None:
        """The host and the port that the client has named, and its scheme."""
        running = self.clusters[0]
        for host in ("shop.example", "shop.example:8443", "[::1]:8080"):
            for path in ("/cart", "/orders"):
                for proto in ("http", "https"):
                    status, fields, _ = running.request(
                        "GET",
                        path,
                        headers={"Host": host, "X-Forwarded-Proto": proto},
                    )
                    self.assertEqual(status, 308)
                    self.assertEqual(fields["Location"], f"{proto}://{host}{path}/")
        # No name: refused, and no error of the server's.
        for path in ("/cart", "/orders"):
            status, _, _ = running.request("GET", path, headers={"Host": "a..b"})
            self.assertEqual(status, 400)
