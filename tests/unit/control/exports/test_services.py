"""Exported units and manifests: the facts that matter in each."""

import re
import shlex
from pathlib import Path
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.control.exports.facts import HostFacts
from clusterapp.errors import ExportError
from tests.unit.control.exports.exporting import OTHERS, export

DEPLOY = Path(__file__).parents[4] / "deploy"


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
        self.assertIn("TimeoutStopSec=55\n", text)
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
        for chosen in ({"worker_ports": 3001}, {"agent_check": "tcp:0"}):
            text = export("systemd", listen=("tcp:8080",), **chosen)
            self.assertIn("CapabilityBoundingSet=\n", text)

    def test_place(self) -> None:
        """What is in a home folder can be read, and root is no good user."""
        root = HostFacts("/usr/bin", "root")
        told = {"twistd": "/home/me/venv/bin/twistd"}
        text = export("systemd", here=root, told=told)
        self.assertIn("ProtectHome=read-only\n", text)
        self.assertNotIn("\nUser=", text)

    def test_site_in_tmp(self) -> None:
        """The unit does not hide it by a /tmp of its own."""
        self.assertIn("PrivateTmp=yes\n", export("systemd"))
        for folder in ("/tmp/shop", "/var/tmp/shop"):
            told = {"named_folder": folder, "folder": folder}
            text = export("systemd", told=told)
            self.assertIn("PrivateTmp=no\n", text)
            self.assertNotIn("/tmp of its own", text)

    def test_programs_of_the_master(self) -> None:
        """Whatever environment this clusterctl is installed in."""
        text = export("systemd", told={"twistd": "/usr/bin/twistd3"})
        self.assertIn("ExecStart=/usr/bin/twistd3 -n ", text)
        self.assertIn("ExecReload=/usr/bin/clusterctl reload\n", text)

    def test_folders_as_the_operator_names_them(self) -> None:
        """A symbolic link stays one, and a relative path means the same."""
        linked = {"named_folder": "/srv/shop/current", "folder": "/srv/shop/releases/7"}
        linked["twistd"] = "/srv/shop/releases/7/venv/bin/twistd"
        text = export("systemd", told=linked, working_folder="current")
        self.assertIn("WorkingDirectory=/srv/shop\n", text)
        self.assertIn("ExecStart=/srv/shop/current/venv/bin/twistd ", text)
        self.assertIn("    --working-folder current\n", text)
        self.assertNotIn("/releases/", text)
        # One who has gone into the link before he started it means the same.
        linked["started_in"] = "/srv/shop/current"
        text = export("systemd", told=linked, access_log="log/access.log")
        self.assertIn("WorkingDirectory=/srv/shop/current\n", text)
        self.assertIn("    --working-folder /srv/shop/current\n", text)
        self.assertIn("--access-log log/access.log ", text)
        self.assertIn('ReadWritePaths="/srv/shop/current/log"\n', text)
        self.assertNotIn("--working-folder", export("systemd"))

    def test_what_is_written(self) -> None:
        """Logs and sockets may be where the operator has them; no more is open."""
        listen = ("unix:/srv/shop/run/a.sock", "unix:/run/shop/b.sock", "tcp:80")
        text = export("systemd", listen=listen, access_log="/var/log/shop/a.log")
        self.assertEqual(text.count("ReadWritePaths="), 1)
        self.assertIn('ReadWritePaths="/srv/shop/run"\n', text)
        self.assertNotIn("ReadWritePaths", export("systemd", access_log="-"))


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

    def test_relative_paths(self) -> None:
        """Inside there is another working folder: they are written out."""
        listen = ("tls:8443:certificate=shop.pem:key=keys/shop.key",)
        chosen: Any = {"listen": listen, "core": "https://core", "core_ca": "ca.pem"}
        service = self.service(**chosen)
        self.assertEqual(
            service["volumes"],
            [
                f"/srv/shop/{path}:/srv/shop/{path}:ro"
                for path in ("ca.pem", "keys/shop.key", "shop.pem")
            ],
        )
        command = " ".join(service["command"])
        self.assertIn("--core-ca /srv/shop/ca.pem", command)
        spec = "certificate=/srv/shop/shop.pem:key=/srv/shop/keys/shop.key"
        self.assertIn(spec, command)

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
        self.assertEqual(service["stop_grace_period"], "55s")
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
