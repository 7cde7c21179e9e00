"""The exported configuration in HAProxy."""

import re

from tests.integration.exporting import ExportCase
from tests.integration.fronts import clusterctl, haproxy, servers
from tests.integration.running import eventually
from tests.ports import free_port


class HaproxyTests(ExportCase):
    """HAProxy, as Debian has it."""

    program, start = "haproxy", staticmethod(haproxy)

    def test_public_port(self) -> None:
        self.assert_serves(self.front(self.cluster()))

    def test_proxy_protocol(self) -> None:
        """The header is sent as the public port expects it, by health checks, too."""
        for version in ("v1", "v2"):
            with self.subTest(version):
                running = self.cluster("--health-path", "/healthz", proxy=version)
                front = self.front(running)
                self.assert_serves(front)
                eventually(self.is_well)
                front.close()

    def test_worker_ports(self) -> None:
        running = self.with_ports("--health-path", "/healthz")
        front = self.front(running)
        self.assert_serves(front)
        self.assert_nothing_is_lost(running, front)

    def test_known_by_a_field(self) -> None:
        """A client stays, whatever becomes of its worker, and of HAProxy."""
        agent = f"tcp:{free_port()}:interface=127.0.0.1"
        running = self.with_ports(
            *("--dispatch", "sticky", "--sticky", "header:X-Sid"),
            *("--agent-check", agent),
        )
        front = self.front(running)

        def ask(key: str) -> int:
            return int(front.who(X_Sid=key)["slot"])

        self.assert_stays(running, front, ask)

    def test_known_by_a_parameter(self) -> None:
        self.assert_known_by_a_parameter()

    def test_known_by_the_address(self) -> None:
        self.assert_known_by_the_address()

    def test_known_by_a_cookie(self) -> None:
        """Also on one connection that many clients share."""
        running = self.with_ports("--dispatch", "sticky", "--sticky", "cookie")
        front = self.front(running)
        cookies = {}
        for _ in range(8):
            _, headers, body = front.request("GET", "/who")
            cookie = headers["Set-Cookie"].partition(";")[0]
            cookies[cookie] = int(re.findall(rb'"slot": (\d+)', body)[0])
        self.assertEqual(set(cookies.values()), {0, 1})
        shared = front.connection()
        self.addCleanup(shared.close)
        for cookie, slot in [*cookies.items()] * 4:
            asked = front.request("GET", "/who", None, {"Cookie": cookie}, shared)
            self.assertIn(f'"slot": {slot}'.encode(), asked[2])

    def test_agent(self) -> None:
        """HAProxy hears of the master how each worker is."""
        agent = f"tcp:{free_port()}:interface=127.0.0.1"
        running = self.with_ports("--agent-check", agent)
        self.front(running)
        for slot in ("slot0", "slot1"):
            eventually(lambda slot=slot: self.agent_says(slot, "up"))  # type: ignore[misc]
        self.assertGreater(int(servers(self.folder)["slot0"]["weight"]), 1)
        clusterctl(running, "drain", "1")
        eventually(lambda: servers(self.folder)["slot1"]["status"] != "UP")
        self.assertIn("stopped", servers(self.folder)["slot1"]["last_agt"])
        self.assertEqual(servers(self.folder)["slot0"]["status"], "UP")
        clusterctl(running, "restart", "1")
        eventually(lambda: servers(self.folder)["slot1"]["status"] == "UP")

    def test_agent_after_an_upgrade(self) -> None:
        """The new master answers, on the same socket."""
        agent = f"tcp:{free_port()}:interface=127.0.0.1"
        running = self.with_ports("--agent-check", agent)
        self.front(running)
        eventually(lambda: self.agent_says("slot0", "up"))
        clusterctl(running, "upgrade")
        said = servers(self.folder)["slot0"]["agent_duration"]
        self.assertIsNotNone(said)
        clusterctl(running, "drain", "0")
        eventually(lambda: "stopped" in servers(self.folder)["slot0"]["last_agt"])
        clusterctl(running, "stop")

    def is_well(self) -> bool:
        return servers(self.folder)["public"]["check_code"] == "200"

    def agent_says(self, slot: str, word: str) -> bool:
        row = servers(self.folder)[slot]
        return row["agent_status"] == "L7OK" and word in row["last_agt"]
