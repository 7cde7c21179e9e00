"""The service under systemd: its unit files."""

import re
import shutil
import subprocess
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from clusterapp.settings.model import Settings
from tests.integration.running import DEADLINE, ROOT

DEPLOY = ROOT / "deploy"
SERVICE = (DEPLOY / "clusterapp.service").read_text("utf-8")
SOCKET = (DEPLOY / "clusterapp.socket").read_text("utf-8")

#: Where the service's file expects the program.
PROGRAMS = "/opt/clusterapp/bin/"


def said(name: str, unit: str = SERVICE) -> str:
    """Give what a unit file says last under a name."""
    values: list[str] = re.findall(rf"(?m)^{name}=(.*)$", unit)
    return values[-1]


class UnitFileTests(SynchronousTestCase):
    """What can be said of them without a systemd that runs."""

    def test_systemd_reads_them(self) -> None:
        """It finds nothing to complain about, but that the program is not there."""
        if shutil.which("systemd-analyze") is None:
            raise SkipTest("systemd is not installed")
        here = Path.cwd()
        programs = here / "bin"
        programs.mkdir()
        for name in ("twistd", "clusterctl"):
            (programs / name).symlink_to("/bin/true")
        service = SERVICE.replace(PROGRAMS, f"{programs}/")
        (here / "clusterapp.service").write_text(service)
        (here / "clusterapp.socket").write_text(SOCKET)
        ended = subprocess.run(
            [
                *("systemd-analyze", "verify", "--man=no", "--recursive-errors=no"),
                *(f"{here}/clusterapp.service", f"{here}/clusterapp.socket"),
            ],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))

    def test_systemd_is_more_patient_than_the_master(self) -> None:
        """Else it would kill what is about to end, or to be ready."""
        settings = Settings()
        stop = settings.drain_delay + settings.graceful_timeout
        self.assertGreater(int(said("TimeoutStopSec")), stop + 5)
        self.assertGreater(int(said("TimeoutStartSec")), settings.boot_timeout + 5)

    def test_name_of_the_socket(self) -> None:
        name = said("FileDescriptorName", SOCKET)
        self.assertIn(f"--listen systemd:{name}", said("ExecStart"))
