"""Sessions that stay with their slots, whatever stands in front of the cluster."""

import os
import signal
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.http_clients import Crowd, Findings, HttpClient
from tests.integration.running import eventually, wait_until_gone
from tests.integration.sticky_site import Site, site

#: How many workers there are at first, and how many clients come by each way.
WORKERS, CLIENTS, CLIENTS_BY_TLS, LATE = 4, 200, 50, 100

#: What may become of requests when a worker is killed; a balancer says 502 to what
#: it has sent to that worker, and so do the other workers.
OF_THE_KILLED = {
    *("502", "503", "504"),
    *("BrokenPipeError", "ConnectionResetError", "RemoteDisconnected"),
    *("IncompleteRead", "SSLEOFError"),
}

#: An idle connection with TLS is not closed before it asks again.
PATIENT = ("--drain-spread", "604800", "--graceful-timeout", "20")

Homes = Mapping[int, int]


class StickyCase(SynchronousTestCase):
    """What tests of sticky sessions expect."""

    def assert_even(self, homes: Homes, *, slots: int, group: str) -> None:
        """Expect that no slot has less than a third of its share."""
        counts = Counter(homes.values())
        print(f"{group}: {dict(sorted(counts.items()))}")
        least = len(homes) / slots / 3
        for slot in range(slots):
            self.assertGreaterEqual(counts[slot], least, f"{group}: {counts}")

    def assert_shared(self, findings: Findings, way: str) -> None:
        """Expect that a balancer's connections have had many clients' requests."""
        carried = findings.connections(way)
        most = max(carried.values())
        print(f"{way}: {len(carried)} connections, for up to {most} clients each")
        self.assertLess(len(carried), CLIENTS // 2)
        self.assertGreater(most, CLIENTS // 5)


class KeyTests(StickyCase):
    """Clients that ask all the time, whatever is done to the cluster."""

    def test_cookie(self) -> None:
        self.check("cookie")

    def test_header(self) -> None:
        self.check("header:X-Session")

    def test_query(self) -> None:
        self.check("query:user")

    def test_client_ip(self) -> None:
        self.check("client-ip")

    def check(self, key: str) -> None:
        """Do everything with a cluster that knows its clients by a key."""
        with site(key, *PATIENT) as at, closing(Crowd([*http_clients(at)])) as crowd:
            homes = self.arrive(crowd)
            findings = crowd.ask(3)
            self.assertEqual(findings.homes(), homes)
            self.assertEqual(findings.failures, [])
            self.assert_shared(findings, "nginx")
            self.assert_shared(findings, "haproxy")
            self.kill(at, crowd, homes)
            self.reload(at, crowd, homes)
            homes = self.scale_up(at, crowd, homes, moves=key != "cookie")
            self.scale_down(at, crowd, homes)
            # Without the patience that was asked for.
            at.running.signal(signal.SIGQUIT)
            self.assertEqual(at.running.wait(), 0)

    def arrive(self, crowd: Crowd) -> Homes:
        """Send the first request of each client; return the slot of each client."""
        findings = crowd.arrive()
        self.assertEqual(findings.failures, [])
        homes = findings.homes()
        for way in ("nginx", "haproxy", "kept", "fresh", "tls"):
            own = {each.http_client for each in findings.answers if each.way == way}
            here = {http_client: homes[http_client] for http_client in own}
            self.assert_even(here, slots=WORKERS, group=f"by {way}")
        return homes

    def kill(self, at: Site, crowd: Crowd, homes: Homes) -> None:
        """The clients of a killed worker go to its replacement only."""
        [victim] = {each.pid for each in crowd.ask(1).answers if each.slot == 1}
        with crowd.asking() as findings:
            wait_for_answers(findings)
            os.kill(victim, signal.SIGKILL)
            at.running.wait_for(rf"worker 1 \(pid {victim}\) left with signal 9")
            at.running.wait_for("worker 1 is ready")
            wait_for_answers(findings)
        print(f"kill: {findings}")
        self.assertEqual(findings.homes(), homes)
        self.assertLessEqual({each.kind for each in findings.failures}, OF_THE_KILLED)
        # Whoever was connected to another worker has not noticed.
        for failure in findings.failures:
            if failure.way in {"kept", "fresh"}:
                self.assertEqual(homes[failure.http_client], 1, failure)

    def reload(self, at: Site, crowd: Crowd, homes: Homes) -> None:
        """No request fails in a reload, and each client keeps its slot."""
        before = {each.pid for each in crowd.ask(1).answers}
        with crowd.asking() as findings:
            at.clusterctl("reload")
            wait_until_gone(*before)
        print(f"reload: {findings}")
        self.assertEqual(findings.failures, [])
        self.assertEqual(findings.homes(), homes)
        findings = crowd.ask(1)
        self.assertEqual(findings.failures, [])
        self.assertEqual(findings.homes(), homes)

    def scale_up(self, at: Site, crowd: Crowd, homes: Homes, *, moves: bool) -> Homes:
        """A new slot gets its share of the clients; the others keep their slots."""
        with crowd.asking() as findings:
            at.clusterctl("scale", "5")
        print(f"scale 5: {findings}")
        self.assertEqual(findings.failures, [])
        for answer in findings.answers:
            self.assertIn(answer.slot, {homes[answer.http_client], 4}, answer)
        findings = crowd.ask(2)
        self.assertEqual(findings.failures, [])
        after = findings.homes()
        moved = {
            http_client
            for http_client in homes
            if homes[http_client] != after[http_client]
        }
        print(f"scale 5: {len(moved)} of {len(homes)} have moved")
        self.assertEqual(
            {after[http_client] for http_client in moved}, {4} if moves else set()
        )
        self.assertLessEqual(len(moved), len(homes) / 4)
        return after

    def scale_down(self, at: Site, crowd: Crowd, homes: Homes) -> None:
        """Clients of a removed slot get another one; all others keep theirs."""
        with closing(Crowd([*late_visitors(at)])) as late:
            late_homes = late.arrive().homes()
            self.assert_even(late_homes, slots=WORKERS + 1, group="late")
            with crowd.asking() as findings, late.asking() as late_findings:
                at.clusterctl("scale", "4")
            before = {**homes, **late_homes}
            for each in (findings, late_findings):
                print(f"scale 4: {each}")
                self.assertEqual(each.failures, [])
                for answer in each.answers:
                    if before[answer.http_client] != WORKERS:
                        self.assertEqual(
                            answer.slot, before[answer.http_client], answer
                        )
            self.assert_only_left(crowd, homes)
            self.assert_only_left(late, late_homes)

    def assert_only_left(self, crowd: Crowd, homes: Homes) -> None:
        """Assert that exactly the clients of removed slots have other slots."""
        findings = crowd.ask(2)
        self.assertEqual(findings.failures, [])
        after = findings.homes()
        for http_client, slot in homes.items():
            if slot == WORKERS:
                self.assertIn(after[http_client], range(WORKERS))
            else:
                self.assertEqual(after[http_client], slot)


def http_clients(at: Site) -> Iterator[HttpClient]:
    """Make clients for each way."""
    fresh = at.ways["fresh"]
    number = 0
    for name, way in at.ways.items():
        ways = [way] if name != "kept" else [way, fresh]
        for _ in range(CLIENTS_BY_TLS if name == "tls" else CLIENTS):
            yield HttpClient(number, *ways)
            number += 1


def late_visitors(at: Site) -> Iterator[HttpClient]:
    """Make some that have not been there before."""
    for number in range(LATE):
        yield HttpClient(1000 + number, at.ways["nginx"], at.ways["fresh"])


def wait_for_answers(findings: Findings) -> None:
    """Wait until as many have been answered as there are clients, about."""
    enough = len(findings.answers) + 4 * CLIENTS
    eventually(lambda: len(findings.answers) >= enough)
