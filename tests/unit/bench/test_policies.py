"""What the benches of policies make of what they count and measure."""

from itertools import pairwise
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from bench import fairness, handoff, machine, tallies
from bench.errors import BenchError
from bench.fairness import CONNECTIONS, EACH, KEPT, REQUESTS, Finding
from bench.figures import Figure, Sample
from bench.options import chosen_policies, policies_parser
from bench.peers import Ground
from bench.policies import NODES, POLICIES, WORKERS, node, under
from bench.tallies import Tally
from clusterapp.settings.listen import DISPATCHES

PRINTED = """\
Running 2s test @ http://127.0.0.1:8080/slot
  100 requests in 2.00s, 5.60MB read
Requests/sec:  50.00
answer 0 40002 30
answer 2 40000 40
answer 0 40004 20
answer 3 40006 10
"""
GROUND = Ground(port=1, core_port=2, folder=Path("/folder"), static=Path("/static"))


class TallyTests(SynchronousTestCase):
    """What wrk has counted."""

    def test_requests(self) -> None:
        """They are added up by slot; one that answers nothing counts, too."""
        self.assertEqual(tallies.requests(PRINTED, 4), Tally((50, 0, 40, 10)))

    def test_connections(self) -> None:
        """Each has a port of its own; one that follows another is not counted."""
        self.assertEqual(tallies.connections(PRINTED, 4), Tally((2, 0, 1, 1)))
        self.assertEqual(tallies.connections(PRINTED, 2), Tally((1, 0, 1, 0)))

    def test_more_slots_than_there_should_be(self) -> None:
        """Nothing that was counted is left out."""
        more = f"{PRINTED}answer 5 40008 7\n"
        self.assertEqual(tallies.requests(more, 4), Tally((50, 0, 40, 10, 0, 7)))

    def test_imbalance(self) -> None:
        """The largest over the mean."""
        self.assertEqual(Tally((5, 5, 5, 5)).imbalance, 1)
        self.assertEqual(Tally((8, 4, 4, 4)).imbalance, 1.6)
        self.assertEqual(Tally((8, 0, 0, 0)).imbalance, 4)
        self.assertEqual(Tally((0, 0, 0, 0)).imbalance, 0)

    def test_middle_and_worst(self) -> None:
        """One odd round does not move the figure; of two, the worse counts."""
        even, odd, worse = Tally((2, 2)), Tally((3, 1)), Tally((4, 0))
        self.assertEqual(tallies.middle([worse, even, odd]), odd)
        self.assertEqual(tallies.middle([worse, even]), worse)
        self.assertEqual(tallies.worst([even, worse, odd]), worse)


class FairnessTests(SynchronousTestCase):
    """The table of what was counted, and what was wanted."""

    def test_targets(self) -> None:
        """Targets are stricter where the master chooses than where the kernel does."""
        for policy, what, most in [
            ("round-robin", (EACH, CONNECTIONS), 1.10),
            ("least-connections", (KEPT, CONNECTIONS), 1.10),
            ("shared", (EACH, CONNECTIONS), 1.15),
            ("reuseport", (EACH, CONNECTIONS), 1.15),
            ("reuseport", (KEPT, CONNECTIONS), None),
            ("round-robin", (KEPT, REQUESTS), None),
        ]:
            self.assertEqual(Finding(policy, *what, (Tally((1,)),)).wanted, most)

    def test_met(self) -> None:
        for counts, met in [((110, 100, 95, 95), True), ((120, 100, 90, 90), False)]:
            finding = Finding("round-robin", EACH, CONNECTIONS, (Tally(counts),))
            self.assertIs(finding.met, met)
        self.assertIsNone(Finding("shared", KEPT, REQUESTS, (Tally((1,)),)).met)

    def test_every_manner_has_targets_that_exist(self) -> None:
        """A typo would ask for nothing."""
        counted = {
            (manner.title, what)
            for manner in fairness.MANNERS
            for what in manner.counted
        }
        self.assertLessEqual(set(fairness.WANTED), counted)
        for wanted in fairness.WANTED.values():
            self.assertLessEqual(set(wanted), set(POLICIES))

    def test_text(self) -> None:
        """The round in the middle is shown, and how bad the worst was."""
        rounds = Tally((1000, 1000, 1000, 1000)), Tally((1, 0, 0, 0))
        found = [
            Finding("shared", EACH, CONNECTIONS, (rounds[0], *rounds, rounds[0])),
            Finding("reuseport", fault="has ended"),
        ]
        head, _, shared, reuseport = fairness.text(found).splitlines()
        self.assertTrue(
            head.startswith("| policy | counted | slot 0 | slot 1 | slot 2 ")
        )
        self.assertEqual(
            shared,
            "| shared | connection per request: connections | 1,000 | 1,000 | 1,000 |"
            " 1,000 | 1.00 | 4.00 | at most 1.15 | yes |",
        )
        self.assertTrue(reuseport.startswith("| reuseport | invalid: has ended | "))
        self.assertEqual(reuseport.count("|"), head.count("|"))


class HandoffTests(SynchronousTestCase):
    """What policies cost."""

    def test_judgement(self) -> None:
        """Each beside the first, and beside the better of Node's."""
        figures = {
            name: Figure([Sample(value, 0.5)])
            for name, value in [
                ("shared", 1000),
                ("reuseport", 1100),
                ("round-robin", 850),
                ("least-connections", 900),
                ("node", 800),
                ("node-express", 500),
            ]
        }
        beside_node = "over the better of node and node-express"
        self.assertEqual(
            handoff.judgement(figures).splitlines()[2:],
            [
                f"| shared, {beside_node} | 1.25 |  |  | 1.25 |",
                "| reuseport, over shared | 1.10 |  |  | 1.10 |",
                f"| reuseport, {beside_node} | 1.38 |  |  | 1.38 |",
                "| round-robin, over shared | 0.85 | at least 0.8 | yes | 0.85 |",
                f"| round-robin, {beside_node} | 1.06 | at least 1 | yes | 1.06 |",
                "| least-connections, over shared | 0.90 |  |  | 0.90 |",
                f"| least-connections, {beside_node} | 1.12 |  |  | 1.12 |",
            ],
        )

    def test_judgement_of_some(self) -> None:
        """What was not measured is not judged, nor can it be compared with."""
        figures = {"round-robin": Figure([Sample(850, 0.5)])}
        self.assertEqual(
            handoff.judgement(figures).splitlines()[2],
            "| round-robin, over shared | - | at least 0.8 |  |  |",
        )

    def test_work(self) -> None:
        """It is the main bench's, of which one worker is to reach other things."""
        work = handoff.connections()
        self.assertTrue(work.one_request_each)
        self.assertEqual(work.targets, ())


class PolicyTests(SynchronousTestCase):
    """The servers, and what they run on."""

    def test_policies_exist(self) -> None:
        self.assertLessEqual(set(POLICIES), set(DISPATCHES))

    def test_clusterapp(self) -> None:
        """It says itself when all workers are there."""
        peer = under("round-robin", Path("/checkout"))
        command = peer.command(Path("/home"), handoff.connections(), GROUND)
        for pair in [
            ("--dispatch", "round-robin"),
            ("--workers", str(WORKERS)),
            ("--min-ready", str(WORKERS)),
            ("--health-path", str(peer.ready_path)),
        ]:
            self.assertIn(pair, list(pairwise(command)))

    def test_node(self) -> None:
        """Its workers are as many; it opens its port when all are there."""
        self.assertEqual([node(name).ready_path for name in NODES], [None, None])

    def test_cpus(self) -> None:
        """Each process of a server has its own while they last, and wrk the next."""
        for cpus, processes, servers, client in [
            ({0, 1}, 1, {0}, 1),
            ({0, 1}, 5, {0}, 1),
            ({2, 4, 6, 7}, 5, {2, 4, 6}, 7),
            (set(range(16)), 5, {0, 1, 2, 3, 4}, 5),
        ]:
            self.assertEqual(
                machine.divide(cpus, processes),
                machine.Cpus(frozenset(servers), client),
            )

    def test_one_cpu(self) -> None:
        """One CPU is refused: client and server would share it."""
        error = self.assertRaises(BenchError, machine.divide, {3}, 1)
        self.assertIn("two CPUs are needed", str(error))

    def test_options(self) -> None:
        """Without a flag, every policy and as many clients as were promised."""
        options = policies_parser("bench.fairness", "Some.").parse_args([])
        self.assertEqual(chosen_policies(options.policies), list(POLICIES))
        self.assertEqual(options.connections, 64)
        self.assertEqual(
            chosen_policies("round-robin,shared"), ["shared", "round-robin"]
        )
        error = self.assertRaises(BenchError, chosen_policies, "random")
        self.assertIn("--policies: random is not one of shared, ", str(error))
