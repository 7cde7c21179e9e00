"""Exported units and manifests, as far as they can be tried here."""

import re
import shlex
import shutil
import subprocess

import yaml

from tests.integration.exporting import ExportCase
from tests.integration.fronts import clusterctl
from tests.integration.running import APPS, DEADLINE, SCRIPTS, clean_environment
from tests.ports import free_port


class ServiceManagerTests(ExportCase):
    """systemd, compose and Kubernetes, as far as they can be asked here."""

    def check(self, arguments: list[str]) -> None:
        """Check that ``--check-config`` accepts these arguments."""
        command = [str(SCRIPTS / "twistd"), "-n", "--pidfile=", "clusterapp"]
        ended = subprocess.run(
            [*command, *arguments, "--check-config"],
            cwd=APPS,
            env={**clean_environment(), "FRONTED_STATIC": str(self.static)},
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        self.assertIn("configuration ok", ended.stdout, ended.stderr)

    def test_systemd(self) -> None:
        """The units are well, and the command is that of a cluster like this one."""
        port = free_port()
        running = self.cluster(
            *("--listen", f"tcp:{port}:interface=127.0.0.1"),
            *("--graceful-timeout", "7", "--trusted-proxies", "127.0.0.1,10.0.0.0/8"),
        )
        text = clusterctl(running, "export", "systemd")
        parts = re.split(r"(?m)^# /etc/systemd/system/(.*)$", text)[1:]
        units = dict(zip(parts[::2], parts[1::2], strict=True))
        self.assertEqual(set(units), {"fronted.service", "fronted.socket"})
        self.assertIn(f"ListenStream=127.0.0.1:{port}\n", units["fronted.socket"])
        for name, unit in units.items():
            (self.folder / name).write_text(unit)
        verify = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no"]
        ended = subprocess.run(
            [*verify, *(str(self.folder / name) for name in units)],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        service = units["fronted.service"].replace("\\\n", " ")
        found = re.search("(?m)^ExecStart=(.*)$", service)
        assert found is not None
        words = shlex.split(found[1])
        self.assertEqual(shutil.which(words[0]), str(SCRIPTS / "twistd"))
        self.assertIn("systemd:0", words)
        self.check(words[words.index("clusterapp") + 1 :])

    def test_compose(self) -> None:
        port = free_port()
        running = self.cluster("--listen", f"tcp:{port}")
        document = yaml.safe_load(clusterctl(running, "export", "compose"))
        [service] = document["services"].values()
        self.assertIn(f"{port}:{port}", service["ports"])
        self.assertIn(f"127.0.0.1:{running.port}:{running.port}", service["ports"])
        self.assertEqual(service["stop_grace_period"], "50s")
        self.check(service["command"])

    def test_kubernetes(self) -> None:
        running = self.cluster(
            *("--health-path", "/healthz", "--dispatch", "sticky"),
            *("--sticky", "client-ip"),
        )
        text = clusterctl(running, "export", "kubernetes")
        deployment, service = yaml.safe_load_all(text)
        [container] = deployment["spec"]["template"]["spec"]["containers"]
        self.assertEqual(container["readinessProbe"]["httpGet"]["path"], "/healthz")
        self.assertEqual(service["spec"]["sessionAffinity"], "ClientIP")
        self.assertEqual(service["spec"]["ports"][0]["port"], running.port)
        self.check(container["args"])
