"""Single requests of clients that belong to a slot, and the cookies they get."""

import json
import os
import signal
from collections.abc import Mapping
from contextlib import closing
from typing import BinaryIO, ClassVar

from twisted.trial.unittest import SynchronousTestCase
from wsproto.events import TextMessage

from tests.integration.http.test_websockets import Client
from tests.integration.http_clients import Crowd, HttpClient
from tests.integration.running import wait_until_gone
from tests.integration.sticky_site import Site, site

COOKIE = "clusterapp_slot"
WORKERS, CLIENTS = 2, 24


class SiteCase(SynchronousTestCase):
    """
    Tests that ask one site, and do not change it.

    :cvar key: what it knows its clients by.
    :cvar at: the site.
    """

    key: ClassVar[str] = ""
    at: ClassVar[Site]

    @classmethod
    def setUpClass(cls) -> None:
        """Run it while there are tests."""
        super().setUpClass()
        if cls.key:
            cls.at = cls.enterClassContext(site(cls.key, workers=WORKERS))


class OneConnectionTests(SiteCase):
    """Many clients' requests on one connection, without a balancer's help."""

    key = "header:X-Session"

    def test_pipelined(self) -> None:
        """The answers come in the order of the requests, each from its slot."""
        homes = homes_of(self.at)
        numbers = [*homes, *reversed(homes)]
        bodies = [f"{number} " * 100 for number in numbers]
        with self.at.running.connect() as connection:
            connection.sendall(b"".join(map(post, numbers, bodies)))
            with connection.makefile("rb") as reader:
                for number, body in zip(numbers, bodies, strict=True):
                    answer = read(reader)
                    self.assertIn(b'"slot": %d,' % homes[number], answer)
                    self.assertIn(b'"body": "%b"' % body.encode(), answer)

    def test_large_bodies(self) -> None:
        """Large bodies are relayed to the worker of the client's slot."""
        body = "x" * 3_000_000
        for number, slot in homes_of(self.at).items():
            with (
                self.at.running.connect() as connection,
                connection.makefile("rb") as reader,
            ):
                # The first one decides who has the connection.
                connection.sendall(post(0, "x") + post(number, body))
                read(reader)
                answer = read(reader)
                self.assertIn(b'"slot": %d,' % slot, answer)
                self.assertGreater(len(answer), len(body))

    def test_spoofed_origin(self) -> None:
        """What workers tell each other of a client, no client can tell them."""
        spoof = "Clusterapp-From: 1 4711 192.0.2.1"
        for number, slot in homes_of(self.at).items():
            with (
                self.at.running.connect() as connection,
                connection.makefile("rb") as reader,
            ):
                for body in ("", "x"):
                    connection.sendall(
                        post(0, "x") + post(number, body, f"{spoof}\r\n")
                    )
                    read(reader)
                    answer = read(reader)
                    self.assertIn(b'"slot": %d,' % slot, answer)
                    self.assertIn(b'"client": "127.0.0.1"', answer)

    def test_upgrade(self) -> None:
        """A WebSocket may follow another client's request."""
        for number, slot in homes_of(self.at).items():
            with closing(HttpClient(number)) as http_client:
                sid = http_client.ask(self.at.ways["kept"], "/poll")["sid"]
                target, fields = http_client.marks(
                    self.at.ways["kept"], "/socket", sid=sid
                )
            with self.at.running.connect() as connection:
                with connection.makefile("rb") as reader:
                    connection.sendall(post(0, "x"))
                    read(reader)
                client = Client(connection, target, fields)
                client.send(TextMessage("hello"))
                self.assertEqual(client.message(), f"{slot} hello")
                client.close()


class CookieTests(SiteCase):
    """The cookie that names a client's slot."""

    key = "cookie"

    def test_attributes(self) -> None:
        """It is no script's and no other site's, and with TLS it stays with TLS."""
        for name, way in self.at.ways.items():
            with closing(HttpClient(0)) as http_client:
                http_client.ask(way)
                [cookie] = http_client.jar
                self.assertEqual((cookie.name, cookie.path), (COOKIE, "/"))
                self.assertTrue(cookie.has_nonstandard_attr("HttpOnly"))
                self.assertEqual(cookie.get_nonstandard_attr("SameSite"), "Lax")
                self.assertEqual(cookie.secure, name == "tls")
                self.assertTrue(cookie.discard)

    def test_good_one(self) -> None:
        """A client with a valid cookie gets no new one from any worker."""
        slot, [cookie] = ask(self.at)
        for _ in range(WORKERS * 2):
            self.assertEqual(ask(self.at, cookie), (slot, []))

    def test_bad_ones(self) -> None:
        """Forged, torn and foreign ones are ignored, and replaced by good ones."""
        slot, [cookie] = ask(self.at)
        value = cookie.partition("=")[2]
        signature = value.partition(".")[2]
        other = (slot + 1) % WORKERS
        for bad in (
            *("", "1", ".", "-1.x", "\xff", "x" * 5000),
            *(value[:-1], f"{value}x", f"0{value}", f"{slot}.{'A' * 43}"),
            *(f"{slot}", f"{slot}.", f".{signature}", f"{other}.{signature}"),
        ):
            new, cookies = ask(self.at, f"{COOKIE}={bad}")
            self.assertEqual(len(cookies), 1, bad)
            self.assertEqual(ask(self.at, *cookies), (new, []))

    def test_what_is_not_checked(self) -> None:
        """Static files and the core's routes are served without an affinity cookie."""
        for target in ("/static/hello.txt", "/core") * WORKERS:
            status, fields, _ = self.at.running.request("GET", target)
            self.assertEqual(status, 200)
            self.assertNotIn("Set-Cookie", fields)


class OwnCookieTests(SynchronousTestCase):
    """The same, of a site that is another one or is changed."""

    def test_own_name(self) -> None:
        """The operator may choose the name, and nothing else is looked at."""
        with site("cookie:route", workers=WORKERS) as at:
            slot, [cookie] = ask(at)
            name, _, value = cookie.partition("=")
            self.assertEqual(name, "route")
            self.assertEqual(ask(at, f"{COOKIE}=x; a=b; {cookie}"), (slot, []))
            _, [_] = ask(at, f"{COOKIE}={value}")

    def test_stale_one(self) -> None:
        """It is replaced, and good again when the slot is there again."""
        with site("cookie", workers=WORKERS) as at:
            at.clusterctl("scale", f"{WORKERS + 1}")
            slot, cookies = ask(at)
            while slot != WORKERS:
                slot, cookies = ask(at)
            self.assertEqual(ask(at, *cookies), (WORKERS, []))
            at.clusterctl("scale", f"{WORKERS}")
            slot, [_] = ask(at, *cookies)
            self.assertLess(slot, WORKERS)
            at.clusterctl("scale", f"{WORKERS + 1}")
            self.assertEqual(ask(at, *cookies), (WORKERS, []))


class UpgradeTests(SynchronousTestCase):
    """Sessions that outlive a master, though not its workers' memory."""

    def test_cookie(self) -> None:
        self.check("cookie")

    def test_client_ip(self) -> None:
        self.check("client-ip")

    def check(self, key: str) -> None:
        """Clients keep their slots while the master is upgraded."""
        with site(key, "--drain-spread", "1", workers=WORKERS) as at:
            ways = [at.ways[name] for name in ("nginx", "haproxy", "kept", "fresh")]
            numbers = range(CLIENTS)
            with closing(Crowd([HttpClient(n, *ways) for n in numbers])) as crowd:
                homes = crowd.ask(2).homes()
                with crowd.asking() as findings:
                    at.clusterctl("upgrade")
                    old = at.running.pid
                    found = at.running.wait_for(
                        rf"pid (\d+) has taken over from pid {old}"
                    )
                    wait_until_gone(old)
                print(f"upgrade: {findings}")
                try:
                    self.assertEqual(findings.failures, [])
                    self.assertEqual(findings.homes(), homes)
                    self.assertEqual(crowd.ask(2).homes(), homes)
                finally:
                    os.kill(int(found[1]), signal.SIGTERM)
                    wait_until_gone(int(found[1]))


def homes_of(at: Site) -> Mapping[int, int]:
    """Return the slots of some clients, by the clients' numbers."""
    http_clients = [HttpClient(number, at.ways["fresh"]) for number in range(CLIENTS)]
    homes = Crowd(http_clients).ask(1).homes()
    assert len(set(homes.values())) == WORKERS
    return homes


def ask(at: Site, cookie: str = "") -> tuple[int, list[str]]:
    """Ask once; give the slot that answers, and the cookies that it sets."""
    connection = at.ways["fresh"].connect("127.0.0.1")
    with closing(connection):
        fields = {"Cookie": cookie} if cookie else {}
        connection.request("GET", "/where", headers=fields)
        response = connection.getresponse()
        said = json.loads(response.read())
        found = response.headers.get_all("Set-Cookie", [])
        return said["slot"], [each.partition(";")[0] for each in found]


def post(number: int, body: str, more: str = "") -> bytes:
    """Write a client's request, with more lines in its head; it is repeated."""
    return (
        f"POST /echo HTTP/1.1\r\nHost: localhost\r\nX-Session: session {number}\r\n"
        f"{more}Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode("ascii")


def read(reader: BinaryIO) -> bytes:
    """Read one good answer, and return its body."""
    assert b" 200 " in reader.readline()
    length = 0
    while (line := reader.readline().lower().strip()) != b"":
        name, _, value = line.partition(b":")
        if name == b"content-length":
            length = int(value)
    return reader.read(length)
