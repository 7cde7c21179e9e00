"""Exported configurations: the facts that matter in each."""

import re
import shlex
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.control.arguments import PROGRAMS
from clusterapp.control.exports import EXPORTS
from clusterapp.control.exports.facts import Facts, Place, Surroundings
from clusterapp.control.exports.words import flags, idle_timeout, span
from clusterapp.errors import ExportError, SettingsError
from clusterapp.settings.model import SETTINGS, Settings
from clusterapp.settings.options import Options
from tests.unit.exporting import HERE, config_of, facts_of, status_of

DEPLOY = Path(__file__).parents[2] / "deploy"

#: What every setting could be, if it is not as by default.
OTHERS: dict[str, Any] = {
    "workers": 3, "max_body": 5, "keepalive_timeout": 2.5, "header_timeout": 7,
    "trusted_proxies": ("10.0.0.0/8", "unix"), "core": "isolated", "reload": True,
    "access_log": "-", "max_requests": 1000, "drain_delay": 4,
}  # fmt: skip


def export(program: str, size: int = 2, **chosen: Any) -> str:
    """Write a configuration for a program."""
    return EXPORTS[program](facts_of(size, **chosen))


class FactsTests(SynchronousTestCase):
    """What is read of the documents."""

    def test_programs(self) -> None:
        self.assertEqual(tuple(EXPORTS), PROGRAMS)

    def test_label(self) -> None:
        """Whatever the application is called, everybody can take its label."""
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
            places = {slot: str(place) for slot, place in facts.workers.items()}
            self.assertEqual(places, {0: f"{host}:3001", 1: f"{host}:3002"})

    def test_slots_with_gaps(self) -> None:
        workers = [{"slot": 4}, {"slot": 1}]
        facts = facts_of(worker_ports=3001, told={"workers": workers})
        self.assertEqual(list(facts.workers), [1, 4])
        self.assertEqual(facts.workers[4], Place("127.0.0.1", 3005))

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
            self.assertEqual(str(facts.public(with_proxy=False).place), chosen)
        facts = facts_of(listen=("tcp:81:proxy=v2",))
        self.assertRaises(ExportError, facts.public, with_proxy=False)
        self.assertEqual(str(facts.public(with_proxy=True).place), "127.0.0.1:81")


class WordsTests(SynchronousTestCase):
    """What several of them write."""

    def test_spans(self) -> None:
        self.assertEqual([span(60), span(2.5), span(0)], ["60s", "2500ms", "0s"])

    @given(st.floats(min_value=0.001, max_value=604_800))
    def test_who_closes_first(self, ours: float) -> None:
        """The proxy, however short our own patience is."""
        theirs = idle_timeout(Settings(keepalive_timeout=ours))
        self.assertTrue(0 < theirs < ours)

    def test_flags(self) -> None:
        """Who reads them has the same settings again."""
        chosen = Settings(app="shop:app", listen=("tcp:1", "unix:/a b"), **OTHERS)
        words = [word for flag in flags(chosen, ()) for word in flag]
        options = Options({})
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
            ("systemd", {"told": {"folder": evil}}),
            ("systemd", {"access_log": evil}),
            ("systemd", {"here": Surroundings("/bin", evil)}),
            ("compose", {"core_ca": evil, "core": "https://core"}),
            ("kubernetes", {"told": {"name": f"a:b\n{evil}"}}),
        ):
            error = self.assertRaises(ExportError, export, program, **chosen)
            self.assertIn("cannot be written", str(error))


class NginxTests(SynchronousTestCase):
    """The file for conf.d."""

    def test_public_port(self) -> None:
        text = export("nginx")
        self.assertIn("    server 127.0.0.1:8080;\n", text)
        self.assertIn("    keepalive 32;\n", text)
        self.assertNotIn("hash", text)
        self.assertEqual(text.count("listen "), 1)
        self.assertNotIn("NOT YET RIGHT", text)

    def test_worker_ports(self) -> None:
        text = export("nginx", worker_ports=3001)
        for line in (
            "least_conn;",
            "server 127.0.0.1:3001 max_fails=0;  # slot 0",
            "server 127.0.0.1:3002 max_fails=0;  # slot 1",
            "keepalive 64;",
        ):
            self.assertIn(f"    {line}\n", text)
        self.assertNotIn("8080", text)

    def test_sticky_keys(self) -> None:
        """By worker ports where nginx has a variable for it, else the public port."""
        for sticky, variable in (
            ("client-ip", "$remote_addr"),
            ("header:X-Session_Id", "$http_x_session_id"),
            ("query:sid", "$arg_sid"),
            ("query:s-id", None),
            ("header:X.Session", None),
            ("cookie", None),
        ):
            text = export("nginx", worker_ports=3001, dispatch="sticky", sticky=sticky)
            self.assertEqual("server 127.0.0.1:8080;" in text, variable is None, sticky)
            self.assertEqual("consistent;" in text, variable is not None, sticky)
            if variable is not None:
                self.assertIn(variable, text)
        self.assertNotIn("underscores_in_headers", text)

    def test_unusual_fields(self) -> None:
        """Those that nginx would drop are let through."""
        for sticky, line in (
            ("header:X_Sid", "underscores_in_headers on;"),
            ("header:X.Sid", "ignore_invalid_headers off;"),
        ):
            self.assertIn(line, export("nginx", dispatch="sticky", sticky=sticky))

    def test_limits(self) -> None:
        text = export(
            "nginx", max_body=5000, keepalive_timeout=30, core_timeout=90,
            request_timeout=20,
        )  # fmt: skip
        self.assertIn("client_max_body_size 5000;", text)
        self.assertIn("keepalive_timeout 25s;", text)
        self.assertIn("proxy_read_timeout 100s;", text)
        self.assertIn("proxy_read_timeout 3600s;", export("nginx"))

    def test_static_files(self) -> None:
        text = export("nginx")
        self.assertIn('location "/static/" {', text)
        self.assertIn('root "/srv/shop/static";', text)
        self.assertIn('add_header Cache-Control "no-cache";', text)
        self.assertIn('"max-age=60"', export("nginx", static_max_age=60))

    def test_pattern_of_static_files(self) -> None:
        static = {"url": "/a.b/", "folder": "/s"}
        text = export("nginx", told={"static": static})
        [quoted] = re.findall(r'location ~ "(.*)"', text)
        pattern = quoted.replace("\\\\", "\\").replace("(?<", "(?P<")
        for path, sent in (
            ("/a.b/app.css", True),
            ("/a.b/deep/er/é.js", True),
            ("/axb/app.css", False),
            ("/a.b/.hidden.css", False),
            ("/a.b/.git/app.css", False),
            ("/a.b/../app.css", False),
            ("/a.b//app.css", False),
            ("/a.b/back\\slash.css", False),
            ("/a.b/app.css.php", False),
            ("/a.b/.css", False),
        ):
            self.assertEqual(re.search(pattern, path) is not None, sent, path)

    def test_no_static_files(self) -> None:
        """There are none; or nginx would take the folder's name for a variable."""
        for static in (None, {"url": "/static/", "folder": "/srv/$shop"}):
            self.assertNotIn("static", export("nginx", told={"static": static}))

    def test_by_the_workers_word(self) -> None:
        text = export("nginx", sendfile_header="X-Accel-Redirect=/internal/")
        self.assertIn("location /internal/ {", text)
        self.assertIn('alias "/srv/shop/static/";', text)
        self.assertNotIn("try_files", text)
        error = self.assertRaises(
            ExportError, export, "nginx", sendfile_header="X-Sendfile"
        )
        self.assertIn("X-Sendfile", str(error))

    def test_encrypted_listener(self) -> None:
        text = export("nginx", listen=("tls:8443:certificate=c:key=k",))
        self.assertIn("proxy_pass https://shop;", text)

    def test_names_that_are_no_names(self) -> None:
        path = '/run/a "b\\.sock'
        text = export("nginx", listen=("unix:" + path.replace("\\", "\\\\"),))
        self.assertIn('server "unix:/run/a \\"b\\\\.sock";', text)

    def test_proxy_that_is_not_trusted(self) -> None:
        """It works, and says what is still to be done."""
        self.assertIn("NOT YET RIGHT", export("nginx", trusted_proxies=("10.0.0.1",)))


class HaproxyTests(SynchronousTestCase):
    """HAProxy's proxies."""

    def test_public_port(self) -> None:
        text = export("haproxy", agent_check="tcp:9990")
        self.assertIn("    server public 127.0.0.1:8080\n", text)
        for absent in ("balance", "agent", "httpchk", "NOT YET RIGHT"):
            self.assertNotIn(absent, text)

    def test_health(self) -> None:
        text = export("haproxy", health_path="/healthz")
        self.assertIn("    option httpchk GET /healthz\n", text)

    def test_sticky_keys(self) -> None:
        for sticky, line in (
            ("client-ip", "balance source"),
            ("header:X-Sid", "balance hdr(X-Sid)"),
            ("query:sid", "balance url_param 'sid'"),
            ("cookie:sid", "cookie 'sid' insert indirect nocache httponly"),
        ):
            chosen: Any = {"worker_ports": 3001, "dispatch": "sticky", "sticky": sticky}
            text = export("haproxy", **chosen)
            self.assertIn(f"    {line}", text)
            hashed = not sticky.startswith("cookie")
            self.assertEqual("hash-type consistent" in text, hashed)
            self.assertEqual("server slot1 127.0.0.1:3002 cookie 1" in text, not hashed)
        self.assertIn("balance leastconn", export("haproxy", worker_ports=3001))

    def test_agent(self) -> None:
        """Clients that stay are not moved by a lag."""
        chosen: Any = {"worker_ports": 3001, "agent_check": "tcp:9990"}
        text = export("haproxy", **chosen)
        self.assertIn("agent-addr 127.0.0.1 agent-port 9990", text)
        self.assertIn(r'server slot1 127.0.0.1:3002 agent-send "slot 1\n"', text)
        text = export("haproxy", **chosen, dispatch="sticky", sticky="client-ip")
        self.assertIn(r'agent-send "slot 1 sticky\n"', text)

    def test_how_the_public_port_is_spoken_to(self) -> None:
        for spec, line in (
            ("tcp:80:proxy=v1", "server public 127.0.0.1:80 send-proxy"),
            ("tcp:80:proxy=auto", "server public 127.0.0.1:80 send-proxy-v2"),
            (
                "tls:443:certificate=c:key=k:proxy=v2",
                "server public 127.0.0.1:443 ssl verify none send-proxy-v2",
            ),
            ("unix:/run/a.sock", "server public 'unix@/run/a.sock'"),
        ):
            text = export("haproxy", listen=(spec,))
            self.assertTrue(text.endswith(f"    {line}\n"), text)
            self.assertEqual("check-send-proxy" in text, "proxy=" in spec)

    def test_what_it_cannot_do(self) -> None:
        for chosen in (
            {"sendfile_header": "X-Sendfile"},
            {"listen": ("unix:/run/a'b",)},
            {"listen": ("tls:443:certificate=c:key=k:ca=a",)},
        ):
            self.assertRaises(ExportError, export, "haproxy", **chosen)


class SystemdTests(SynchronousTestCase):
    """The units."""

    def command(self, text: str) -> list[str]:
        [found] = re.findall("(?m)^ExecStart=(.*)$", text.replace("\\\n", " "))
        return shlex.split(found)

    def test_lines_of_the_house(self) -> None:
        """The sandbox and the rest are those of deploy/."""
        text = export("systemd")
        house = (DEPLOY / "clusterapp.service").read_text("utf-8")
        own = "#|Description|Exec|User|Group|Working|Environment|Timeout|Requires|After"
        for line in house.replace("Directory=clusterapp", "Directory=shop").split("\n"):
            if line and not re.match(own, line):
                self.assertIn(f"\n{line}\n", text)

    def test_flags(self) -> None:
        """A unit's own words are escaped."""
        text = export("systemd", **{**OTHERS, "access_log": '/log/100% "$x"'})
        self.assertIn(r'--access-log "/log/100%% \"$$x\""', text)
        self.assertIn("--workers 2", text)  # as there are now
        self.assertIn("--trusted-proxies 10.0.0.0/8,unix", text)
        self.assertIn("TimeoutStopSec=45\n", text)
        self.assertIn("WorkingDirectory=/srv/shop\nEnv", text)
        self.assertIn("User=shop\n", text)

    def test_sockets(self) -> None:
        """Those that systemd can hold are numbered in their order."""
        listen = (
            "unix:/run/a.sock",
            "tcp:80",
            "tcp:81:dispatch=reuseport",
            "tcp:82:interface=[::1]:dispatch=round-robin:proxy=v2",
        )
        text = export("systemd", listen=listen)
        words = self.command(text)
        given = [words[at + 1] for at, word in enumerate(words) if word == "--listen"]
        self.assertEqual(
            given,
            [
                "unix:/run/a.sock",
                "systemd:0",
                "tcp:81:dispatch=reuseport",
                "systemd:1:dispatch=round-robin:proxy=v2",
            ],
        )
        self.assertIn("ListenStream=80\nListenStream=[::1]:82\n", text)
        self.assertIn("Requires=shop.socket\n", text)

    def test_no_sockets(self) -> None:
        """Then it is the service that needs the right to a low port."""
        text = export("systemd", listen=("tcp:80",), worker_ports=3001)
        self.assertNotIn(".socket", text)
        self.assertIn("AmbientCapabilities=CAP_NET_BIND_SERVICE\n", text)
        text = export("systemd", listen=("tcp:8080",), worker_ports=3001)
        self.assertIn("CapabilityBoundingSet=\n", text)

    def test_place(self) -> None:
        """What is in a home folder can be read, and root is no good user."""
        root = Surroundings("/home/me/venv/bin", "root")
        text = export("systemd", here=root)
        self.assertIn("ProtectHome=read-only\n", text)
        self.assertNotIn("\nUser=", text)


class ContainerTests(SynchronousTestCase):
    """Compose and Kubernetes."""

    def service(self, **chosen: Any) -> dict[str, Any]:
        document = yaml.safe_load(export("compose", **chosen))
        found: dict[str, Any] = document["services"]["shop"]
        return found

    def manifest(self, **chosen: Any) -> tuple[Any, Any]:
        deployment, service = yaml.safe_load_all(export("kubernetes", **chosen))
        return deployment["spec"]["template"]["spec"], service["spec"]

    def test_ports(self) -> None:
        """Inside there are other interfaces; outside it is as before."""
        listen = ("tcp:8080:interface=127.0.0.1", "tcp:81:interface=[::1]", "unix:/a")
        service = self.service(listen=listen, worker_ports=3001, agent_check="tcp:9990")
        self.assertEqual(
            service["ports"],
            [
                "127.0.0.1:8080:8080", "[::1]:81:81", "127.0.0.1:3001:3001",
                "127.0.0.1:3002:3002", "127.0.0.1:9990:9990",
            ],
        )  # fmt: skip
        command = " ".join(service["command"])
        self.assertIn("--listen tcp:8080 --listen tcp:81 ", command)
        self.assertNotIn("unix", command)

    def test_port_of_the_kernel(self) -> None:
        service = self.service(listen=("tcp:0",))
        self.assertEqual(service["ports"], ["45678:45678"])

    def test_dollars(self) -> None:
        """They name no variables, neither here nor there."""
        chosen: Any = {"core_ca": "/ca/$(x).pem", "core": "https://core"}
        service = self.service(**chosen)
        self.assertIn("/ca/$$(x).pem", service["command"])
        self.assertEqual(service["volumes"], ["/ca/$$(x).pem:/ca/$$(x).pem:ro"])
        pod, _ = self.manifest(**chosen)
        self.assertIn("/ca/$$(x).pem", pod["containers"][0]["args"])
        self.assertIn("mounted: /ca/$(x).pem", export("kubernetes", **chosen))

    def test_times(self) -> None:
        chosen = {"graceful_timeout": 20, "drain_delay": 15, "boot_timeout": 90}
        service = self.service(**chosen)
        self.assertEqual(service["stop_grace_period"], "45s")
        self.assertEqual(service["healthcheck"]["start_period"], "90s")
        pod, _ = self.manifest(**chosen)
        self.assertGreater(pod["terminationGracePeriodSeconds"], 35)
        self.assertNotIn("lifecycle", pod["containers"][0])
        pod, _ = self.manifest()
        sleep = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
        self.assertEqual(sleep, ["sleep", "5"])

    def test_what_is_written(self) -> None:
        """Only to the engine: the file system cannot be written to."""
        command = self.service(access_log="/var/log/a", state="/s", control="/c")
        self.assertEqual(command["command"][-2:], ["--access-log", "-"])
        self.assertNotIn("--state", command["command"])

    def test_readiness(self) -> None:
        """On the public port if that can be asked."""
        for chosen, asked in (
            ({"health_path": "/h"}, "httpGet"),
            ({}, "exec"),
            ({"health_path": "/h", "listen": ("tcp:80:proxy=v2",)}, "exec"),
            ({"health_path": "/h", "listen": ("tls:443:certificate=c:key=k:ca=a",)},
             "exec"),
        ):  # fmt: skip
            pod, _ = self.manifest(**chosen)
            self.assertIn(asked, pod["containers"][0]["readinessProbe"])

    def test_affinity(self) -> None:
        _, service = self.manifest(dispatch="sticky", sticky="client-ip")
        self.assertEqual(service["sessionAffinity"], "ClientIP")
        for chosen in ({}, {"dispatch": "sticky", "sticky": "cookie"}):
            self.assertNotIn("sessionAffinity", self.manifest(**chosen)[1])

    def test_nothing_to_reach(self) -> None:
        for program in ("compose", "kubernetes"):
            self.assertRaises(ExportError, export, program, listen=("unix:/a",))


class EveryoneTests(SynchronousTestCase):
    """What holds for all of them."""

    def test_every_setting(self) -> None:
        """None of them makes an export fail, nor brings braces or None into it."""
        for name, value in OTHERS.items():
            self.assertIn(name, {setting.name for setting in SETTINGS})
            for program in PROGRAMS:
                text = export(program, **{name: value})
                self.assertNotIn("None", text)
                self.assertTrue(text.endswith("\n"))
