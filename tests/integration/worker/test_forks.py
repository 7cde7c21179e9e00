"""Forks that return to the server: only the process that serves runs its loop."""

import signal

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.running import APPS, RunningCluster, children_of, cluster

#: The status of a fork that ends in each way (see apps/forking.py).
STATUS = {"exit": 0, "status": 7, "text": 1, "fail": 1, "return": 1, "own": 9}


class ReturningForkTests(SynchronousTestCase):
    """A fork that exits, fails or returns ends with that status, and serves nothing."""

    def check(self, running: RunningCluster, place: str, *, asyncio: bool) -> None:
        pid = int(running.get(f"{place}/pid"))
        before = children_of(pid)
        for where in ("at_once", "later", "thread", *(("task",) if asyncio else ())):
            for how, status in STATUS.items():
                told = running.get(f"{place}/{where}/{how}")
                self.assertEqual(told, str(status).encode(), (place, where, how))
        # Whatever a timer raises is logged by the reactor, which then goes on.
        for how in ("fail", "return"):
            self.assertEqual(running.get(f"{place}/timer/{how}"), b"1", (place, how))
        self.assertEqual(running.get(f"{place}/timer/own"), b"9")
        self.assertEqual(int(running.get(f"{place}/pid")), pid)
        self.assertEqual(children_of(pid), before)

    def check_log(self, running: RunningCluster) -> None:
        running.wait_for("a fork says why")
        running.wait_for("returned to the server that it was forked from")
        self.assertIn("ValueError: of a fork", running.text())
        for fault in ("Fatal Python error", "cannot accept", "Errno 88", "hung"):
            self.assertNotIn(fault, running.text())
        running.signal(signal.SIGTERM)
        self.assertEqual(running.wait(), 0)

    def test_in_each_process(self) -> None:
        """In a worker, in a core in the master, and in one of its own."""
        for core in ("master", "isolated"):
            with cluster(
                *("--app", "forking:app", "--core", core),
                workers=1,
                env={"PYTHONPATH": str(APPS)},
            ) as running:
                for place in ("", "/core"):
                    has_loop = place == "" or core == "isolated"
                    self.check(running, place, asyncio=has_loop)
                self.check_log(running)

    def test_in_a_wsgi_application(self) -> None:
        """In a thread, which would wait for ever for more work."""
        with cluster(
            *("--app", "forking:wsgi"), workers=1, env={"PYTHONPATH": str(APPS)}
        ) as running:
            for how, status in STATUS.items():
                self.assertEqual(running.get(f"/{how}"), str(status).encode(), how)
            self.check_log(running)

    def test_while_others_are_served(self) -> None:
        """Their connections are the parent's, which serves them on."""
        with cluster(
            *("--app", "forking:app", "--core", "master"),
            workers=1,
            env={"PYTHONPATH": str(APPS)},
        ) as running:
            for place in ("", "/core"):
                with running.connect() as client:
                    for how in ("return", "exit", "return"):
                        head = f"GET {place}/at_once/{how} HTTP/1.1\r\nHost: a\r\n\r\n"
                        client.sendall(head.encode())
                        answer = b""
                        while b"\r\n\r\n" not in answer or answer.endswith(b"\n"):
                            answer += client.recv(65_536)
                        self.assertTrue(answer.startswith(b"HTTP/1.1 200"), answer)
                        status = str(STATUS[how]).encode()
                        self.assertTrue(answer.endswith(b"\r\n" + status), answer)
            self.assertNotIn("clusterapp: fork of", _titles(running))


def _titles(running: RunningCluster) -> str:
    shown = []
    for pid in running.children():
        with open(f"/proc/{pid}/cmdline") as line:  # noqa: PTH123
            shown.append(line.read())
    return "\n".join(shown)
