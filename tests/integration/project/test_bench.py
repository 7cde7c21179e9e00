"""The bench with real servers, small ones: what it starts, finds out and ends."""

import os
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from bench import fairness, processes
from bench.errors import BenchError, ServerError
from bench.figures import Figure
from bench.measure import Plan, measure
from bench.peers import Ground, Peer
from bench.servers import Server, free_port
from bench.tallies import Tally
from bench.works import Work
from bench.wrk import Load
from tests.integration.running import APPS, wait_until_gone

SCRIPT = APPS / "bench_peer.py"
EVERY_CPU = os.sched_getaffinity(0)
CPU = min(EVERY_CPU)
ROUNDS = 2

#: Stands in for wrk, which a machine that runs the tests need not have.
WRK = """\
#!/bin/sh
echo "$@" >> {asked}
echo "{printed}"
echo "Requests/sec:  1000.50"
"""


def peer(name: str, manner: str = "well") -> Peer:
    """Make a peer of our small server."""

    def command(home: Path, _work: Work, ground: Ground) -> list[str]:
        return [str(home), str(SCRIPT), str(ground.port), manner]

    return Peer(name, lambda _cache: Path(sys.executable), command)


def work(idle: int = 0) -> Work:
    """Make a work that our small server can do."""
    body = b'{"message": "hello, world"}'
    return Work(name="tiny", title="tiny", path="/", peers=(), idle=idle, expected=body)


class PlanCase(SynchronousTestCase):
    """A folder, a plan, and what was said and asked."""

    def setUp(self) -> None:
        self.said: list[str] = []
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.asked = self.folder / "asked"

    def plan(self, *peers: Peer) -> Plan:
        """Plan two rounds on one CPU."""
        return Plan(
            rounds=ROUNDS,
            load=Load(seconds=4, connections=2, cpu=CPU),
            cpus={CPU},
            homes={peer.name: Path(sys.executable) for peer in peers},
            static=self.folder,
            scratch=self.folder,
            say=self.said.append,
        )

    def install_wrk(self, printed: str = "") -> None:
        """Put a stand-in for wrk where programs are looked for."""
        program = self.folder / "wrk"
        program.write_text(WRK.format(asked=self.asked.absolute(), printed=printed))
        program.chmod(0o755)
        path = f"{self.folder.absolute()}:{os.environ['PATH']}"
        self.patch(os, "environ", {**os.environ, "PATH": path})


class CourseTests(PlanCase):
    """Measuring from the start of the servers to their end."""

    def measure(self, work: Work, *peers: Peer) -> dict[str, Figure]:
        """Measure, on one CPU, for a short time."""
        return measure(work, peers, self.plan(*peers))

    def test_rounds_are_interleaved(self) -> None:
        """After a short run to warm up, each server has its turn in every round."""
        self.install_wrk()
        figures = self.measure(work(), peer("one"), peer("two"))
        for figure in figures.values():
            rates = [sample.value for sample in figure.samples]
            self.assertEqual((rates, figure.fault), ([1000.5] * ROUNDS, None))
        runs = self.asked.read_text().splitlines()
        one, two, *others = [run.rpartition(" ")[2] for run in runs]
        self.assertEqual(others, [one, two] * ROUNDS)
        seconds = [run.partition("--duration ")[2].split()[0] for run in runs]
        self.assertEqual(seconds, ["1s"] * 2 + ["4s"] * 2 * ROUNDS)

    def test_errors_make_a_figure_invalid(self) -> None:
        """A rate with errors in it is none, and no more time is spent on it."""
        self.install_wrk("Socket errors: connect 0, read 5, write 0, timeout 0")
        figures = self.measure(work(), peer("one"))
        self.assertEqual(figures["one"].fault, "5 read errors")
        self.assertEqual(len(self.asked.read_text().splitlines()), 1)

    def test_others_go_on(self) -> None:
        """A server that fails is left out, and what it printed is shown."""
        self.install_wrk()
        wrong = [peer("dead", "dies"), peer("liar", "lies")]
        figures = self.measure(work(), *wrong, peer("one"))
        self.assertEqual(figures["dead"].fault, "has ended")
        self.assertIn("tiny: dead: has ended\nno strength left", self.said)
        fault = figures["liar"].fault
        assert fault is not None
        self.assertIn("answers something else", fault)
        self.assertEqual(len(figures["one"].samples), ROUNDS)

    def test_idle_connections(self) -> None:
        """A connection that is held takes some of a worker's memory."""
        figures = self.measure(work(idle=400), peer("one"))
        self.assertIsNone(figures["one"].fault)
        value = figures["one"].value
        assert value is not None
        self.assertGreater(value, 1)
        self.assertLess(value, 100)

    def test_idle_connections_must_be_kept(self) -> None:
        """What closes connections saves memory, but not in our eyes."""
        figures = self.measure(work(idle=20), peer("one", "forgets"))
        fault = figures["one"].fault
        assert fault is not None
        self.assertRegex(fault, r"\d+ of \d+ connections were not kept")

    def test_all_workers_are_waited_for(self) -> None:
        """A server that listens before it is ready has not begun."""
        self.install_wrk()
        late = replace(peer("one", "late"), ready_path="/")
        self.assertIsNone(self.measure(work(), late)["one"].fault)
        self.assertIn(
            "answers 503", str(self.measure(work(), peer("two", "late"))["two"].fault)
        )


class FairnessTests(PlanCase):
    """Counting the responses of each worker."""

    def test_counted_in_each_round(self) -> None:
        """Of each manner, what the answers say is read."""
        self.install_wrk("answer 0 5001 30\nanswer 0 5002 10\nanswer 3 5003 20")
        one = peer("one")
        found = list(fairness.measure(one, self.plan(one)))
        requests, connections = Tally((40, 0, 0, 20)), Tally((2, 0, 0, 0))
        self.assertEqual(
            [(finding.manner, finding.what, finding.tallies) for finding in found],
            [
                ("connection per request", "connections", (requests,) * ROUNDS),
                ("keep-alive", "connections", (connections,) * ROUNDS),
                ("keep-alive", "requests", (requests,) * ROUNDS),
            ],
        )
        runs = self.asked.read_text().splitlines()
        closing = ["Connection: close" in run for run in runs]
        self.assertEqual(closing, [True] * ROUNDS + [False] * ROUNDS)

    def test_errors(self) -> None:
        """What was counted with errors in it counts nothing."""
        self.install_wrk("Socket errors: connect 0, read 5, write 0, timeout 0")
        one = peer("one")
        [finding] = fairness.measure(one, self.plan(one))
        self.assertEqual((finding.policy, finding.fault), ("one", "5 read errors"))
        self.assertIn("one: 5 read errors", self.said)

    def test_rude_server(self) -> None:
        """One that breaks off is told of like one that ends."""
        one = replace(peer("one", "rude"), ready_path="/")
        [finding] = fairness.measure(one, self.plan(one))
        self.assertIn("RemoteDisconnected", str(finding.fault))


class ServerTests(SynchronousTestCase):
    """One server's process."""

    def start(self, *command: str) -> Server:
        """Start a server."""
        log = Path(self.mktemp())
        return Server(list(command), cwd=Path.cwd(), env={}, cpus={CPU}, log=log)

    def test_pinned(self) -> None:
        """A server has the CPU that it was given, and this process has all again."""
        port = free_port()
        with closing(self.start(sys.executable, str(SCRIPT), str(port), "well")) as one:
            one.wait_until_listening(port)
            self.assertEqual(os.sched_getaffinity(one.pid), {CPU})
        self.assertEqual(os.sched_getaffinity(0), EVERY_CPU)

    def test_children_leave(self) -> None:
        """What a server leaves behind is ended with it."""
        port = free_port()
        with closing(
            self.start(sys.executable, str(SCRIPT), str(port), "parent")
        ) as one:
            one.wait_until_listening(port)
            child = int(one.fault("").output)
            self.assertEqual(processes.tree(one.pid), [one.pid, child])
            self.assertEqual(processes.workers(one.pid), [child])
        wait_until_gone(child)

    def test_silence(self) -> None:
        """A server that does not listen is not waited for for ever."""
        command = (sys.executable, "-c", "import signal; signal.pause()")
        with closing(self.start(*command)) as one:
            error = self.assertRaises(
                ServerError, one.wait_until_listening, free_port(), deadline=0.1
            )
        self.assertEqual(error.reason, "does not listen after 0.1 s")

    def test_no_such_program(self) -> None:
        """A program that is not there is named."""
        error = self.assertRaises(BenchError, self.start, "/no/such/program")
        self.assertIn("/no/such/program", str(error))
