"""What `clusterctl` shows to people."""

import re

from twisted.trial.unittest import SynchronousTestCase

from clusterapp.control.views import (
    UNKNOWN,
    clusters_text,
    coloured,
    config_text,
    plain,
    span,
    stacks_text,
    status_text,
    step_text,
    verdict_text,
)
from clusterapp.printable import printable
from clusterapp.settings.model import Settings
from clusterapp.settings.print_config import settings_table
from clusterapp.settings.resolution import ResolvedSettings
from tests.unit.control.operating import CONFIG, core, status, worker

#: Wider than these a line would be broken on a usual terminal, in columns.
WIDTH = 80

NOTHING_KNOWN = dict.fromkeys(
    ("pid", "uptime", "requests", "active", "connections", "lag", "rss", "cpu")
)


def uncoloured(text: str) -> str:
    """Take the colours out."""
    return re.sub(r"\x1b\[[0-9]+m", "", text)


class StatusTests(SynchronousTestCase):
    """The view of a cluster."""

    def test_whole(self) -> None:
        shown = status_text(
            status(
                2,
                listeners=["http://127.0.0.1:8080", "unix:/run/shop.sock"],
                operation="reload",
            ),
            plain,
        )
        self.assertEqual(
            shown,
            "shop:app is ready\n"
            "  pid         4242\n"
            "  version     0.1.0\n"
            "  generation  2\n"
            "  state       running for 12s\n"
            "  listening   http://127.0.0.1:8080\n"
            "              unix:/run/shop.sock\n"
            "  core        ready\n"
            "  operation   reload\n"
            "\n"
            "slot state   gen  pid uptime reqs active conns lag ms  MiB cpu% restarts\n"
            "   0 running   2 4300     3s   10      1     5    1.0 58.2 25.3        0\n"
            "   1 running   2 4301     3s   10      1     5    1.0 58.2 25.3"
            "        0\n",
        )

    def test_core(self) -> None:
        """Its process stands below the workers, in the same columns."""
        shown = status_text(status(1, core_process=core(restarts=2)), plain)
        self.assertIn("  core        ready (a process of its own)\n", shown)
        self.assertEqual(
            shown.splitlines()[-1],
            "core running   2 4299     3s   10      1     5    1.0 58.2 25.3        2",
        )

    def test_core_in_the_master(self) -> None:
        """Its row says so, for most figures are the master's."""
        facts = {"place": "master", "pid": 4242, "connections": None}
        shown = status_text(status(1, core_process=core(**facts)), plain)
        self.assertIn("  core        ready (in the master)\n", shown)
        self.assertEqual(
            shown.splitlines()[-1],
            "core in master   2 4242     3s   10      1     -    1.0 58.2 25.3"
            "        0",
        )
        starting = core(place="master", state="starting")
        shown = status_text(status(1, core_process=starting), plain)
        self.assertIn("\ncore starting ", shown)

    def test_core_elsewhere(self) -> None:
        """Of the core of another cluster nothing is known."""
        remote = {
            **dict.fromkeys((*NOTHING_KNOWN, "generation", "restarts", "cpu")),
            "place": "https://core.example",
            "slot": "core",
            "state": "remote",
        }
        shown = status_text(status(1, core="remote", core_process=remote), plain)
        self.assertIn("  core        remote (https://core.example)\n", shown)
        self.assertRegex(shown, r"\ncore remote +(-\s+){9}-\n$")

    def test_master(self) -> None:
        """What the master uses, and whether it is late."""
        shown = self.lines(master={"lag": 1.2345, "rss": 52_428_800, "cpu": 0.5})
        said = "50.0 MiB, 50.0 % CPU, event loop 1234 ms late"
        self.assertEqual(shown["master"], said)
        shown = self.lines(master={"lag": 0.0, "rss": None, "cpu": None})
        self.assertEqual(shown["master"], "- MiB, - % CPU, event loop 0.0 ms late")

    def test_large_figures(self) -> None:
        """They stay within 80 columns, in every state."""
        states = ("running", "starting", "draining", "backoff", "fatal", "stopped")
        large = {
            "generation": 999,
            "pid": 4_194_303,
            "uptime": 86_399.0,
            "requests": 123_456_789,
            "active": 99_999,
            "connections": 65_535,
            "lag": 29.9999,
            "rss": 99_999 * 1024**2,
            "cpu": 12.345,
        }
        workers = [
            worker(slot, state=state, **{**large, "pid": 4_194_303})
            for slot, state in enumerate(states)
        ]
        document = status(
            workers=workers,
            core_process=core(place="master", **large),
            retiring=[worker(0, state="draining", **large), core(**large)],
        )
        table = status_text(document, plain).partition("\n\n")[2].splitlines()
        self.assertIn(" 123.5M ", table[1])
        self.assertLessEqual(max(map(len, table)), WIDTH)

    def lines(self, **facts: object) -> dict[str, str]:
        """Return the facts of a status that are shown before the table, by name."""
        head = status_text(status(1, **facts), plain).partition("\n\n")[0]
        found: dict[str, str] = {}
        name = ""
        for line in head.splitlines()[1:]:
            name = line[2:12].strip() or name
            found[name] = (found[name] + "\n" if name in found else "") + line[14:]
        return found

    def test_distribution(self) -> None:
        """What chooses the worker of a connection, and by which key."""
        listener = {"address": "http://h:1", "dispatch": "shared", "by": "workers"}
        shown = self.lines(distribution={"listeners": [listener]})
        self.assertEqual(shown["dispatch"], "shared (the workers accept)")
        self.assertNotIn("balance", shown)

    def test_distribution_of_several_listeners(self) -> None:
        listeners = [
            {"address": "a", "dispatch": "reuseport", "sticky": None, "by": "kernel"},
            {"address": "b", "dispatch": "sticky", "sticky": "cookie", "by": "master"},
            {"address": "c", "dispatch": "new", "by": "nobody we know"},
        ]
        shown = self.lines(distribution={"listeners": listeners})
        self.assertEqual(
            shown["dispatch"],
            "a: reuseport (the kernel decides)\n"
            "b: sticky by cookie (the master accepts)\n"
            f"c: new ({UNKNOWN})",
        )

    def test_balance(self) -> None:
        shown = self.lines(
            distribution={
                "imbalance": 1.256,
                "handed_off": 9,
                "handed_off_per_second": 12.4,
            },
            workers=[worker(0, relayed=3), worker(1, relayed=None), worker(2)],
        )
        self.assertEqual(
            shown["balance"],
            "the busiest worker has 1.26 of its share, 12 hand-offs/s,"
            " 3 requests relayed",
        )

    def test_nothing_to_balance(self) -> None:
        """What is 0 or unknown is not shown."""
        shown = self.lines(
            distribution={
                "imbalance": None,
                "handed_off": 0,
                "handed_off_per_second": 0.0,
            },
            workers=[worker(0, relayed=0)],
        )
        self.assertNotIn("balance", shown)

    def test_not_ready(self) -> None:
        shown = status_text(status(ready=False, why="no worker is ready"), plain)
        self.assertIn("shop:app is not ready: no worker is ready\n", shown)
        shown = status_text(status(ready=False), plain)
        self.assertIn("shop:app is not ready\n", shown)

    def test_nothing_known(self) -> None:
        """What nobody knows is a hyphen; no operation is said in words."""
        shown = status_text(
            status(
                1,
                pid=None,
                uptime=None,
                listeners=[],
                workers=[worker(0, state="starting", **NOTHING_KNOWN)],
            ),
            plain,
        )
        self.assertIn("  pid         -\n", shown)
        self.assertIn("  state       running\n", shown)
        self.assertIn("  listening   -\n", shown)
        self.assertIn("  operation   none under way\n", shown)
        self.assertRegex(shown, r"\n +0 starting +2(?: +-){8} +0\n$")

    def test_empty_document(self) -> None:
        """A master of another version may leave anything out."""
        shown = status_text({}, plain)
        self.assertTrue(shown.startswith("- is not ready\n"), shown)
        self.assertTrue(shown.endswith("\nno workers\n"), shown)

    def test_no_workers(self) -> None:
        self.assertTrue(status_text(status(0), plain).endswith("\n\nno workers\n"))

    def test_retiring(self) -> None:
        """Old processes stand apart, in the same columns."""
        shown = status_text(
            status(1, retiring=[worker(0, state="draining", generation=1)]), plain
        )
        heading, running, apart, draining = shown.splitlines()[-4:]
        self.assertEqual(apart, "retiring:")
        self.assertTrue(draining.startswith("   0 draining   1 4300"), draining)
        self.assertEqual(len({len(heading), len(running), len(draining)}), 1)

    def test_many_workers_are_aligned(self) -> None:
        """Figures of any length, too."""
        workers = [
            worker(n, uptime=7.0**n, requests=9**n, lag=1.7 * n) for n in range(9)
        ]
        workers += [worker(n, state="backoff", **NOTHING_KNOWN) for n in range(9, 40)]
        shown = status_text(status(40, workers=workers), plain)
        table = shown.partition("\n\n")[2].splitlines()
        self.assertEqual(len(table), 41)
        self.assertEqual({len(line) for line in table}, {len(table[0])})
        self.assertLessEqual(len(table[0]), WIDTH)

    def test_colours_change_nothing_else(self) -> None:
        document = status(
            3,
            workers=[
                worker(0),
                worker(1, state="fatal", pid=None),
                worker(2, state="draining"),
            ],
            retiring=[worker(2, state="draining")],
        )
        shown = status_text(document, coloured)
        self.assertEqual(uncoloured(shown), status_text(document, plain))
        self.assertIn("\x1b[32mrunning", shown)
        self.assertIn("\x1b[31mfatal", shown)
        self.assertIn("\x1b[33mdraining", shown)
        self.assertIn("\x1b[32mready", shown)


class LineTests(SynchronousTestCase):
    """Steps, verdicts and spans of time."""

    def test_steps(self) -> None:
        of_slot = {"step": "ready after 0.42 s", "slot": 0}
        self.assertEqual(step_text(of_slot), "slot 0: ready after 0.42 s")
        of_core = {"step": "ready", "slot": "core"}
        self.assertEqual(step_text(of_core), "core: ready")
        of_all = {"step": "reading the settings", "slot": None}
        self.assertEqual(step_text(of_all), "reading the settings")

    def test_verdicts(self) -> None:
        good, bad = {"ok": True, "text": "4 new"}, {"ok": False, "text": "boot"}
        self.assertEqual(verdict_text(good, plain), "done: 4 new")
        self.assertEqual(verdict_text(bad, plain), "failed: boot")
        self.assertEqual(verdict_text({"ok": True, "text": ""}, plain), "done")
        self.assertEqual(verdict_text(good, coloured), "\x1b[32mdone\x1b[0m: 4 new")
        self.assertEqual(verdict_text(bad, coloured), "\x1b[31mfailed\x1b[0m: boot")

    def test_spans(self) -> None:
        for seconds, shown in (
            (None, "-"),
            (0, "0s"),
            (59.9, "59s"),
            (60, "1m 00s"),
            (3599, "59m 59s"),
            (3600, "1h 00m"),
            (86_399, "23h 59m"),
            (86_400, "1d 00h"),
            (1e8, "1157d 09h"),
        ):
            self.assertEqual(span(seconds), shown)

    def test_what_a_terminal_would_obey(self) -> None:
        """Texts come from applications, and to root from anybody."""
        for text, shown in (
            ("\x1b[2J", "\\x1b[2J"),
            ("a\rb\x07", "a\\rb\\x07"),
            ("\x9b31m", "\\x9b31m"),
            ("\u202e", "\\u202e"),
            ("\udcff", "\\udcff"),
            ("a\tb\nc ä", "a\tb\nc ä"),
        ):
            self.assertEqual(printable(text), shown)
        wild = "\x1b]0;x\x07\n"
        document = status(
            1, name=wild, why=wild, ready=False, workers=[worker(0, state=wild)]
        )
        for view in (
            status_text(document, plain),
            step_text({"step": wild, "slot": 0}),
            verdict_text({"ok": False, "text": wild}, plain),
            stacks_text({"0": wild}, plain),
            config_text({wild: {"value": wild, "origin": wild}}),
            clusters_text(
                [{"path": wild, "pid": 1, "name": wild, "ready": None}], plain
            ),
        ):
            self.assertNotIn("\x1b", view)
            self.assertIn("\\x1b]0;x\\x07", view)


class OtherTests(SynchronousTestCase):
    """Stacks, settings, and the choice between clusters."""

    def test_stacks(self) -> None:
        shown = stacks_text({"10": "b\n", "2": 'File "a"\n  f()'}, plain)
        self.assertEqual(shown, 'slot 2\nFile "a"\n  f()\n\nslot 10\nb\n')
        shown = stacks_text({"core": "c", "0": "a"}, plain)
        self.assertEqual(shown, "slot 0\na\n\ncore\nc\n")
        self.assertEqual(stacks_text({}, plain), "no slot has a process\n")

    def test_config_is_shown_as_the_server_shows_it(self) -> None:
        """After its way through JSON."""
        settings = Settings(workers=4, listen="tcp:1", graceful_timeout=7.5)
        origins = dict.fromkeys(settings.as_mapping(), "default")
        origins["workers"] = "--workers"
        config = {
            name: {
                "value": list(value) if isinstance(value, tuple) else value,
                "origin": origins[name],
            }
            for name, value in settings.as_mapping().items()
        }
        there = settings_table(ResolvedSettings(settings, origins))
        self.assertEqual(config_text(config), there)

    def test_config_of_another_version(self) -> None:
        """Settings may be missing, and others may be there."""
        shown = config_text({"later": {"value": [1], "origin": "default"}, **CONFIG})
        self.assertEqual(
            shown,
            "setting  value            source\n"
            "app      (the demo site)  default\n"
            "workers  4                --workers\n"
            "listen   tcp:1 tcp:2      clusterapp.toml\n"
            "later    [1]              default\n",
        )

    def test_clusters(self) -> None:
        shown = clusters_text(
            [
                {"path": "/run/a/control.sock", "pid": 12, "name": "a", "ready": True},
                {"path": "/b", "pid": None, "name": None, "ready": None},
                {"path": "/c", "pid": 7, "name": "c", "ready": False},
            ],
            plain,
        )
        self.assertEqual(
            shown,
            "socket               pid  name  ready\n"
            "/run/a/control.sock   12  a     yes\n"
            "/b                     -  -     -\n"
            "/c                     7  c     no\n",
        )
