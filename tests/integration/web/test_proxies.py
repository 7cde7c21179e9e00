"""The client address behind proxies, in workers and in the core."""

import json
from contextlib import AbstractContextManager

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.running import APPS, RunningCluster, cluster

CLAIMS = {
    "X-Forwarded-For": "6.6.6.6, 192.0.2.1, 127.0.0.2",
    "X-Forwarded-Proto": "https",
    "Forwarded": "for=6.6.6.6;proto=https",
}


class WhoTests(SynchronousTestCase):
    """What an application hears of its client."""

    def running(self, *flags: str) -> AbstractContextManager[RunningCluster]:
        return cluster(
            *("--app", "whoami:app", *flags), workers=1, env={"PYTHONPATH": str(APPS)}
        )

    def who(self, running: RunningCluster, target: str) -> tuple[str, bool, bool]:
        """Return the client's host, whether its port is known, and if it had TLS."""
        _, _, body = running.request("GET", target, headers=CLAIMS)
        told = json.loads(body)
        return told["host"], bool(told["port"]), told["secure"]

    def test_trusted(self) -> None:
        """With the core in the master and in a child of its own."""
        for place in ("master", "isolated"):
            flags = "--core", place, "--trusted-proxies", "127.0.0.0/8"
            with self.running(*flags) as running:
                for target in ("/who", "/core/who"):
                    self.assertEqual(
                        self.who(running, target), ("192.0.2.1", False, True)
                    )

    def test_stranger(self) -> None:
        """Fields of an untrusted peer change nothing, whatever the core's peer is."""
        with self.running("--trusted-proxies", "unix,10.0.0.0/8") as running:
            for target in ("/who", "/core/who"):
                self.assertEqual(self.who(running, target), ("127.0.0.1", True, False))

    def test_everyone_is_trusted(self) -> None:
        """The left-most address is the client, and the log says what that means."""
        with self.running("--trusted-proxies", "*") as running:
            self.assertIn("trusted_proxies = *", running.text())
            for target in ("/who", "/core/who"):
                self.assertEqual(self.who(running, target), ("6.6.6.6", False, True))
