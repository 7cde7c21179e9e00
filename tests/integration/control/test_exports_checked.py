"""Each recorded export, as nginx, HAProxy and systemd themselves check it."""

import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from clusterapp.errors import ExportError
from tests.integration.running import DEADLINE
from tests.ports import free_port
from tests.unit.control.exports.export_cases import CASES
from tests.unit.control.exports.exporting import export

NGINX = """\
events {{}}
pid {folder}/nginx.pid;
error_log stderr;
http {{ access_log off; include {folder}/site.conf; }}
"""

#: What systemd says of programs and users that are not on this machine.
ELSEWHERE = re.compile(r".* is not executable: .*|Accepting user/group name .*")


def exports(program: str) -> Iterator[tuple[str, str]]:
    """Yield the cases that a program can be configured for, with their exports."""
    for name, chosen in CASES.items():
        try:
            yield name, export(program, **chosen)
        except ExportError:
            continue


class CheckedTests(SynchronousTestCase):
    """Odd paths and names make no configuration that its program refuses."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="clusterapp-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def check(self, *command: object) -> tuple[int, str]:
        ended = subprocess.run(
            [*map(str, command)],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        return ended.returncode, ended.stderr

    def test_nginx(self) -> None:
        main = self.folder / "nginx.conf"
        main.write_text(NGINX.format(folder=self.folder))
        listen = f"listen 127.0.0.1:{free_port()};"
        for name, text in exports("nginx"):
            site = text.replace("listen 80;", listen)
            (self.folder / "site.conf").write_text(site, "utf-8")
            status, said = self.check("nginx", "-t", "-c", main)
            self.assertEqual(status, 0, (name, said))
            self.assertNotIn("[warn]", said, name)

    def test_haproxy(self) -> None:
        path = self.folder / "haproxy.cfg"
        for name, text in exports("haproxy"):
            path.write_text(text, "utf-8")
            status, said = self.check("haproxy", "-c", "-f", path)
            self.assertEqual(status, 0, (name, said))
            self.assertNotIn("[WARNING]", said, name)

    def test_systemd(self) -> None:
        verify = ("systemd-analyze", "verify", "--man=no", "--recursive-errors=no")
        for name, text in exports("systemd"):
            parts = re.split(r"(?m)^# /etc/systemd/system/(.*)$", text)[1:]
            units = [self.folder / unit for unit in parts[::2]]
            for unit, content in zip(units, parts[1::2], strict=True):
                unit.write_text(content, "utf-8")
            _, said = self.check(*verify, *units)
            lines = [line for line in said.splitlines() if not ELSEWHERE.match(line)]
            self.assertEqual(lines, [], name)
            for unit in units:
                unit.unlink()
