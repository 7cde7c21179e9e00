"""What the bench makes of what it reads and measures."""

import json
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from bench import machine, processes, wrk
from bench.errors import BenchError
from bench.figures import Figure, Sample, best, ratio, verdicts
from bench.install import EXPRESS, REQUIREMENTS
from bench.options import chosen_checkouts, chosen_peers, chosen_works, parser
from bench.peers import OURS, PEERS
from bench.report import details, document, judgement, overview, table, text
from bench.works import (
    EXAMPLE,
    STATIC_FILES,
    WORKS,
    Target,
    Work,
    fill,
    static_text,
)
from bench.wrk_script import script

WRK = """\
Running 1s test @ http://127.0.0.1:8080/json
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     3.32ms    2.51ms  34.07ms   97.37%
    Req/Sec    10.39k     1.19k   11.86k    80.00%
  10345 requests in 1.00s, 1.65MB read
Requests/sec:  10343.25
Transfer/sec:      1.65MB
"""
BROKEN = WRK.replace(
    "Requests/sec",
    "  Socket errors: connect 0, read 12, write 0, timeout 3\n"
    "  Non-2xx or 3xx responses: 7\n"
    "Requests/sec",
)


def figure(*values: float, cpu: float | None = 0.5) -> Figure:
    """Make a figure of some samples."""
    return Figure([Sample(value, cpu) for value in values])


def work(*targets: Target, idle: int = 0, at_most: float | None = None) -> Work:
    """Make a work that only comparing looks at."""
    return Work(
        name="some",
        title="some work",
        path="/",
        peers=("a", "b"),
        idle=idle,
        targets=targets,
        at_most=at_most,
    )


class WrkTests(SynchronousTestCase):
    """What wrk prints."""

    def test_rate(self) -> None:
        """The rate is read, and a run without errors has no faults."""
        self.assertEqual(wrk.parse(WRK), wrk.Run(10343.25))

    def test_errors(self) -> None:
        """Whatever went wrong is a fault."""
        self.assertEqual(
            wrk.parse(BROKEN).faults,
            ("12 read errors", "3 timeout errors", "7 answers were no success"),
        )

    def test_no_answer(self) -> None:
        """A rate of nothing is a fault, even if wrk does not call it one."""
        run = wrk.parse(WRK.replace("10343.25", "0.00"))
        self.assertEqual(run.faults, ("no answer",))

    def test_something_else(self) -> None:
        """What is no report of wrk is not taken for one."""
        error = self.assertRaises(BenchError, wrk.parse, "unable to connect")
        self.assertIn("unable to connect", str(error))


class ProcessTests(SynchronousTestCase):
    """What /proc says."""

    def test_private_memory(self) -> None:
        """Clean and dirty private pages count, shared ones and swap do not."""
        rollup = (
            "00400000-7fff0000 ---p 00000000 00:00 0    [rollup]\n"
            "Rss:                8000 kB\n"
            "Shared_Dirty:       4000 kB\n"
            "Private_Clean:       300 kB\n"
            "Private_Dirty:      2000 kB\n"
            "Private_Hugetlb:     100 kB\n"
        )
        self.assertEqual(processes.parse_private(rollup), 2300)

    def test_processor_time(self) -> None:
        """The fields are counted from the end of the name, which may hold anything."""
        stat = "12 (a) b (c) S 1 12 12 0 -1 4194560 5 6 7 8 21 4 9 9 20 0 1 0"
        self.assertEqual(processes.parse_ticks(stat), 25)
        self.assertEqual(processes.parse_parent(stat), 1)


class FigureTests(SynchronousTestCase):
    """Medians, ratios and verdicts."""

    def test_median(self) -> None:
        """One odd round does not move the figure."""
        self.assertEqual(figure(100, 9000, 110).value, 110)

    def test_processor_time(self) -> None:
        """What a busy machine takes from a server is put right, round by round."""
        slowed = Figure([Sample(100, 0.5), Sample(200, 1.0), Sample(20, 0.1)])
        self.assertEqual((slowed.value, slowed.value_by_cpu), (100, 200))

    def test_no_processor_time(self) -> None:
        """Where it does not matter, or none was seen, nothing is said of it."""
        self.assertIsNone(figure(4.5, cpu=None).value_by_cpu)
        self.assertIsNone(figure(4.5, cpu=0.0).value_by_cpu)

    def test_fault(self) -> None:
        """With a fault, there is no figure, whatever was measured before."""
        broken = figure(100, 110)
        broken.fault = "12 read errors"
        self.assertIsNone(broken.value)
        self.assertIsNone(broken.value_by_cpu)
        self.assertIsNone(Figure().value)

    def test_best(self) -> None:
        """The best of some is not known until all are."""
        self.assertEqual(best([3.0, 5.0, 4.0]), 5.0)
        self.assertIsNone(best([3.0, None]))
        self.assertIsNone(best([]))

    def test_ratio(self) -> None:
        """A ratio needs both numbers."""
        self.assertEqual(ratio(3.0, 2.0), 1.5)
        for ours, theirs in [(None, 2.0), (3.0, None), (3.0, 0.0)]:
            self.assertIsNone(ratio(ours, theirs))

    def test_target(self) -> None:
        """The better of some peers is what is to be surpassed."""
        figures = {OURS: figure(300), "a": figure(100), "b": figure(200, cpu=1.0)}
        (one,) = verdicts(work(Target(("a", "b"), 1.5)), figures)
        self.assertEqual((one.reached, one.by_cpu, one.met), (1.5, 3.0, True))
        (one,) = verdicts(work(Target(("a", "b"), 1.6)), figures)
        self.assertEqual(one.met, False)

    def test_missing_peer(self) -> None:
        """Without one of the peers, nothing can be told."""
        figures = {OURS: figure(300), "a": figure(100)}
        (one,) = verdicts(work(Target(("a", "b"), 1.5)), figures)
        self.assertEqual((one.reached, one.met), (None, None))

    def test_limit(self) -> None:
        """Of memory, less is better."""
        idle = work(idle=10, at_most=8.0)
        for kib, met in [(8.0, True), (8.1, False)]:
            (one,) = verdicts(idle, {OURS: figure(kib, cpu=None)})
            self.assertEqual((one.reached, one.met), (kib, met))

    def test_other_checkout(self) -> None:
        """Another checkout is compared with, and nothing is asked of that."""
        figures = {OURS: figure(300), f"{OURS}@old": figure(200), "a": figure(1)}
        (one,) = verdicts(work(), figures)
        self.assertEqual((one.what, one.reached), (f"over {OURS}@old", 1.5))
        self.assertIsNone(one.met)

    def test_without_clusterapp(self) -> None:
        """Where only peers are measured, there is nothing to judge."""
        self.assertEqual(verdicts(work(Target(("a",), 1.0)), {"a": figure(1)}), [])


class ReportTests(SynchronousTestCase):
    """The tables."""

    def setUp(self) -> None:
        broken = figure(5)
        broken.fault = "7 | errors"
        self.work = work(Target(("a",), 1.5))
        self.results = {
            "some": {OURS: figure(3000, 1000, 2000), "a": figure(1000), "b": broken}
        }

    def test_table(self) -> None:
        """A table is Markdown, with its figures to the right."""
        self.assertEqual(
            table(["of", "is"], [["a", "1"], ["b", ""]]),
            "| of | is |\n| --- | ---: |\n| a | 1 |\n| b |  |",
        )

    def test_details(self) -> None:
        """Each server has a row, with the spread, or with what is wrong."""
        self.assertEqual(
            details(self.work, self.results["some"]).splitlines()[2:],
            [
                "| clusterapp | 2,000 | 1,000 | 3,000 | 50% | 4,000 |",
                "| a | 1,000 | 1,000 | 1,000 | 50% | 2,000 |",
                "| b | invalid: 7 \\| errors |  |  |  |  |",
            ],
        )

    def test_details_of_memory(self) -> None:
        """Memory has a decimal, and no processor time."""
        rows = details(work(idle=10), {"a": figure(4.56, cpu=None)})
        self.assertIn("| a | 4.6 | 4.6 | 4.6 |  |  |", rows)

    def test_overview(self) -> None:
        """A server that does not do a work has an empty field."""
        other = Work(name="other", title="another", path="/", peers=())
        results = {**self.results, "other": {"a": figure(7)}}
        self.assertEqual(
            overview([self.work, other], results).splitlines(),
            [
                "| median | clusterapp | a | b |",
                "| --- | ---: | ---: | ---: |",
                "| some work, requests/s | 2,000 | 1,000 | - |",
                "| another, requests/s |  | 7 |  |",
            ],
        )

    def test_judgement(self) -> None:
        """A ratio stands beside its target."""
        self.assertEqual(
            judgement([self.work], self.results).splitlines()[2:],
            ["| some work, over a | 2.00 | at least 1.5 | yes | 2.00 |"],
        )

    def test_judgement_of_nothing(self) -> None:
        """What cannot be told is not made up."""
        (row,) = judgement([self.work], {"some": {OURS: Figure()}}).splitlines()[2:]
        self.assertEqual(row, "| some work, over a | - | at least 1.5 |  |  |")
        self.assertEqual(judgement([self.work], {"some": {"a": figure(1)}}), "")

    def test_text(self) -> None:
        """The machine stands before the tables."""
        whole = text({"machine": "a small one"}, [self.work], self.results)
        self.assertTrue(whole.startswith("- machine: a small one\n\n| some work |"))
        self.assertTrue(whole.endswith(judgement([self.work], self.results)))

    def test_document(self) -> None:
        """The JSON has every sample and every verdict."""
        whole = document({"machine": "a small one"}, [self.work], self.results)
        read = json.loads(json.dumps(whole))
        ours = read["works"]["some"][OURS]
        self.assertEqual(
            (ours["median"], ours["unit"], ours["samples"][1]),
            (2000, "requests/s", {"value": 1000, "cpu": 0.5}),
        )
        self.assertEqual(read["works"]["some"]["b"]["fault"], "7 | errors")
        self.assertEqual([one["met"] for one in read["verdicts"]], [True])


class WorkTests(SynchronousTestCase):
    """The works and the peers, as data."""

    def test_peers_exist(self) -> None:
        """A work, and what it is to surpass, name servers that there are."""
        known = {peer.name for peer in PEERS}
        for one in WORKS:
            self.assertLessEqual(set(one.peers), known)
            for target in one.targets:
                self.assertLessEqual(set(target.peers), set(one.peers))

    def test_static_text(self) -> None:
        """The files are always the same, and of the size they should be."""
        texts = [static_text(name, size) for name, size in STATIC_FILES.items()]
        self.assertEqual([*map(len, texts)], [*STATIC_FILES.values()])
        self.assertEqual(len(set(texts)), len(texts))
        self.assertEqual(static_text("a", 8), static_text("a", 1024)[:8])

    def test_example(self) -> None:
        """What is compared is a request like those of wrk, with a known answer."""
        for one in WORKS:
            target = fill(one.target, EXAMPLE)
            self.assertTrue(target.startswith(fill(one.path, EXAMPLE)), target)
            self.assertNotIn("{", target + fill(one.body, EXAMPLE))
            self.assertEqual("visit=" in target, not one.repeated)

    def test_script(self) -> None:
        """Each request differs from all others, of other runs as well."""
        [varied] = [one for one in WORKS if one.name == "routes-500"]
        first, second = (script(varied, "h:80") for _ in range(2))
        self.assertNotEqual(first, second)
        self.assertIn("math.random(0, 499)", first)
        line = '"GET /section-" .. choice .. "/" .. id .. "/details?visit=" .. id .. "'
        self.assertIn(f"return {line} HTTP/1.1\\r\\nHost: h:80\\r\\nCookie:", first)
        self.assertTrue(first.endswith('\\r\\n\\r\\n" .. body\nend\n'))

    def test_script_of_a_form(self) -> None:
        """The body has its type and its length."""
        [form] = [one for one in WORKS if one.name == "form"]
        made = script(form, "h:80")
        self.assertIn('local body = "field0=" .. id .. "&field1=" .. id .. "&', made)
        kind = "Content-Type: application/x-www-form-urlencoded"
        self.assertIn(f'{kind}\\r\\nContent-Length: " .. #body .. "\\r', made)
        self.assertIn('return "POST /form?visit=', made)

    def test_script_of_single_requests(self) -> None:
        """Each has a connection of its own where the work wants it."""
        for one in WORKS:
            closes = "Connection: close" in script(one, "h:80")
            self.assertEqual(closes, one.one_request_each)

    def test_pins(self) -> None:
        """Every peer from a registry has an exact version."""
        lines = REQUIREMENTS.read_text("utf-8").splitlines()
        wanted = [line for line in lines if line and not line.startswith("#")]
        pinned = machine.parse_pins("\n".join(wanted))
        self.assertEqual(len(pinned), len(wanted))
        for parts in machine.PYTHON_PEERS.values():
            self.assertLessEqual(set(parts), set(pinned))
        asked = json.loads((EXPRESS / "package.json").read_text("utf-8"))
        lock = json.loads((EXPRESS / "package-lock.json").read_text("utf-8"))
        for name, version in asked["dependencies"].items():
            locked = lock["packages"][f"node_modules/{name}"]["version"]
            self.assertEqual(version, locked)

    def test_versions(self) -> None:
        """The versions of the Python peers are those that are pinned."""
        pinned = machine.parse_pins("uvicorn==1.2\n# no==9\nstarlette==3.4\nx>=1\n")
        self.assertEqual(pinned, {"uvicorn": "1.2", "starlette": "3.4"})

    def test_processor(self) -> None:
        """The processor's name is found, where the kernel tells it."""
        self.assertEqual(
            machine.cpu_model("flags: x\nmodel name\t: Some 9\n"), "Some 9"
        )
        self.assertTrue(machine.cpu_model("processor: 0\n"))


class OptionTests(SynchronousTestCase):
    """What is chosen on the command line."""

    def test_defaults(self) -> None:
        """Without a flag, everything is measured with this checkout."""
        options = parser().parse_args([])
        self.assertEqual(chosen_works(options.works), list(WORKS))
        self.assertTrue((options.checkout / "bench" / "works.py").is_file())
        self.assertTrue(options.cache.is_absolute())
        names = [peer.name for peer in chosen_peers(options.peers, {OURS: Path()})]
        self.assertEqual(names, [OURS, *(peer.name for peer in PEERS)])

    def test_some(self) -> None:
        """Names are separated by commas, and measured in our order."""
        works = [one.name for one in chosen_works("page, json")]
        self.assertEqual(works, ["json", "page"])
        peers = chosen_peers("nginx,uvicorn", {OURS: Path()})
        self.assertEqual([peer.name for peer in peers], ["uvicorn", "nginx"])

    def test_unknown(self) -> None:
        """A typo is an error that names the flag and what there is."""
        error = self.assertRaises(BenchError, chosen_works, "json,jsno")
        self.assertIn("--works: jsno is not one of json, ", str(error))
        error = self.assertRaises(BenchError, chosen_peers, ",", {})
        self.assertIn("--peers: nothing is not one of clusterapp, ", str(error))

    def test_checkouts(self) -> None:
        """Other checkouts are called by their folders."""
        found = chosen_checkouts(Path("/here"), [Path("/a/old"), Path("/b/older")])
        self.assertEqual(list(found), [OURS, f"{OURS}@old", f"{OURS}@older"])
        peers = chosen_peers(f"{OURS},nginx", found)
        self.assertEqual([peer.is_ours for peer in peers], [True, True, True, False])

    def test_checkouts_of_one_name(self) -> None:
        """Two of the same name cannot be told apart."""
        others = [Path("/a/old"), Path("/b/old")]
        error = self.assertRaises(BenchError, chosen_checkouts, Path("/here"), others)
        self.assertIn("two folders are called old", str(error))
