"""What exported configurations are made of, and what holds for all of them."""

from typing import Any, ClassVar

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.control.arguments import PROGRAMS
from clusterapp.control.exports import EXPORTS
from clusterapp.control.exports.derived_settings import Timeouts, flags
from clusterapp.control.exports.export_warnings import export_warnings
from clusterapp.control.exports.facts import Facts, HostFacts, UpstreamAddress
from clusterapp.control.exports.quoting import duration
from clusterapp.errors import ExportError, SettingsError
from clusterapp.settings.command_line import SettingsOptions
from clusterapp.settings.model import OPTIONS, Settings
from tests.unit.control.exports.exporting import (
    HERE,
    OTHERS,
    config_of,
    export,
    facts_of,
    status_of,
)


class FactsTests(SynchronousTestCase):
    """What is read of the documents."""

    def test_programs(self) -> None:
        self.assertEqual(tuple(EXPORTS), PROGRAMS)

    def test_label(self) -> None:
        """The label of any application's name is valid in every format."""
        for app, label in (
            ("shop:app", "shop"),
            ("my.web_shop:make.app", "web-shop"),
            ("Shop_:app", "shop"),
            ("läden:app", "l-den"),
            ("___:app", "app"),
        ):
            self.assertEqual(facts_of(told={"name": app}).label, label)

    def test_worker_ports(self) -> None:
        """At the first TCP listener's interface, whatever else there is."""
        for listen, host in (
            (("unix:/run/a.sock", "tcp:80:interface=10.0.0.5"), "10.0.0.5"),
            (("tcp:80",), "127.0.0.1"),
            (("tcp:80:interface=[::]",), "[::1]"),
            (("unix:/run/a.sock",), "127.0.0.1"),
        ):
            facts = facts_of(listen=listen, worker_ports=3001)
            addresses = {slot: str(each) for slot, each in facts.workers.items()}
            self.assertEqual(addresses, {0: f"{host}:3001", 1: f"{host}:3002"})

    def test_slots_with_gaps(self) -> None:
        workers = [{"slot": 4}, {"slot": 1}]
        facts = facts_of(worker_ports=3001, told={"workers": workers})
        self.assertEqual(list(facts.workers), [1, 4])
        self.assertEqual(facts.workers[4], UpstreamAddress("127.0.0.1", 3005))

    def test_master_of_another_version(self) -> None:
        """Settings that are not known here do not matter; what is missing does."""
        settings = Settings()
        config = {**config_of(settings), "later": {"value": 1, "origin": ""}}
        self.assertEqual(Facts.read(config, status_of(settings), HERE).slots, [0, 1])
        told = status_of(settings)
        del told["static"]
        error = self.assertRaises(ExportError, Facts.read, config, told, HERE)
        self.assertIn("static", str(error))
        wrong = {"max_body": {"value": "many", "origin": ""}}
        self.assertRaises(SettingsError, Facts.read, wrong, told, HERE)

    def test_listener_for_a_proxy(self) -> None:
        """What leaves nothing to prove comes first."""
        tls = "tls:443:certificate=c:key=k"
        for listen, chosen in (
            ((tls, "tcp:80"), "127.0.0.1:80"),
            ((tls, "unix:/run/a.sock"), "/run/a.sock"),
            ((tls,), "127.0.0.1:443"),
            ((f"{tls}:ca=ca", "tcp:81:proxy=v2", "tcp:82"), "127.0.0.1:82"),
        ):
            facts = facts_of(listen=listen)
            self.assertEqual(str(facts.public(with_proxy=False).address), chosen)
        facts = facts_of(listen=("tcp:81:proxy=v2",))
        self.assertRaises(ExportError, facts.public, with_proxy=False)
        self.assertEqual(str(facts.public(with_proxy=True).address), "127.0.0.1:81")


class DerivedSettingsTests(SynchronousTestCase):
    """Timeouts, flags and lines, in all formats."""

    def test_spans(self) -> None:
        for seconds, text in ((60, "60s"), (2.5, "2500ms"), (0, "0s")):
            self.assertEqual(duration(seconds), text)

    @given(st.floats(min_value=0.001, max_value=604_800))
    def test_idle_timeout(self, ours: float) -> None:
        """The proxy closes an idle connection first, however short the timeout is."""
        theirs = Timeouts(Settings(keepalive_timeout=ours)).idle
        self.assertTrue(0 < theirs < ours)

    def test_flags(self) -> None:
        """Flags that are parsed make the same settings again."""
        chosen = Settings(app="shop:app", listen=("tcp:1", "unix:/a b"), **OTHERS)
        words = [word for flag in flags(chosen, ()) for word in flag]
        options = SettingsOptions({})
        options.parseOptions(words)
        self.assertEqual(options.settings, chosen)
        self.assertEqual(list(flags(Settings(), ())), [])

    def test_lines_cannot_be_broken(self) -> None:
        """What comes from elsewhere is never another line."""
        evil = "/srv/x\nExecStart=/bin/evil"
        static = {"url": "/static/", "folder": evil}
        for program, chosen in (
            ("nginx", {"told": {"static": static}}),
            ("nginx", {"listen": (f"unix:{evil}",)}),
            ("haproxy", {"listen": (f"unix:{evil}",)}),
            ("haproxy", {"told": {"name": evil}}),
            ("systemd", {"told": {"started_in": evil}}),
            ("systemd", {"told": {"named_folder": evil}}),
            ("systemd", {"told": {"twistd": evil}}),
            ("systemd", {"access_log": evil}),
            ("systemd", {"here": HostFacts("/bin", evil)}),
            ("compose", {"core_ca": evil, "core": "https://core"}),
            ("kubernetes", {"told": {"name": f"a:b\n{evil}"}}),
        ):
            error = self.assertRaises(ExportError, export, program, **chosen)
            self.assertIn("cannot be written", str(error))


class EveryoneTests(SynchronousTestCase):
    """What holds for all of them."""

    def test_every_setting(self) -> None:
        """None of them makes an export fail, nor brings braces or None into it."""
        for name, value in OTHERS.items():
            self.assertIn(name, {option.name for option in OPTIONS})
            for program in PROGRAMS:
                text = export(program, **{name: value})
                self.assertNotIn("None", text)
                self.assertTrue(text.endswith("\n"))


class WarningTests(SynchronousTestCase):
    """Warnings about what an export cannot keep."""

    linked: ClassVar = {
        "named_folder": "/srv/shop/current",
        "folder": "/srv/shop/releases/7",
    }

    def warnings(self, program: str, **chosen: Any) -> list[str]:
        return list(export_warnings(program, facts_of(**chosen)))

    def test_no_warning(self) -> None:
        for program in EXPORTS:
            self.assertEqual(self.warnings(program), [])

    def test_static_files(self) -> None:
        """Proxies follow the link that a deploy moves, as far as there is one."""
        static = {"url": "/static/", "folder": "/srv/shop/releases/7/static"}
        told = {**self.linked, "static": static}
        self.assertEqual(self.warnings("nginx", told=told), [])
        self.assertIn('root "/srv/shop/current/static";', export("nginx", told=told))
        told["static"] = {"url": "/static/", "folder": "/data/static"}
        [line] = self.warnings("nginx", told=told)
        self.assertIn("/data/static, which is not below the working folder", line)
        self.assertEqual(self.warnings("haproxy", told=told), [])

    def test_programs(self) -> None:
        told = {**self.linked, "twistd": "/srv/shop/releases/7/bin/twistd"}
        self.assertEqual(self.warnings("systemd", told=told), [])
        [line] = self.warnings("systemd", told=self.linked)
        self.assertIn("twistd is in /opt/shop/bin", line)

    def test_unknown_programs(self) -> None:
        """A master that is embedded, or of another version, does not tell them."""
        [line] = self.warnings("systemd", told={"twistd": None})
        self.assertIn("the export has that of this clusterctl, /home/me/bin/twi", line)
        text = export("systemd", told={"twistd": None})
        self.assertIn("ExecStart=/home/me/bin/twistd -n ", text)
        self.assertIn("ProtectHome=read-only\n", text)
        self.assertEqual(self.warnings("nginx", told={"twistd": None}), [])

    def test_containers(self) -> None:
        """Relative paths, and a log that nobody would read."""
        for program in ("compose", "kubernetes"):
            told = self.warnings(
                program,
                listen=("tls:443:certificate=a.pem:key=/k.pem",),
                access_log="access.log",
            )
            relative, log = told
            self.assertIn("certificate = a.pem is relative to /srv/shop", relative)
            self.assertIn("access_log = access.log is left out", log)
