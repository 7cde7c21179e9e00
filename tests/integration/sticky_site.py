"""A cluster whose clients stay with their slots, and all the ways to it."""

import re
import ssl
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme

from tests.integration.balancers import balanced_by_haproxy, balanced_by_nginx
from tests.integration.http_clients import Way
from tests.integration.running import (
    APPS,
    DEADLINE,
    SCRIPTS,
    RunningCluster,
    clean_environment,
    cluster,
)


@dataclass(frozen=True)
class Site:
    """A cluster, and all the ways to it."""

    running: RunningCluster
    control: Path
    ways: Mapping[str, Way]

    def clusterctl(self, *arguments: str) -> None:
        """Run ``clusterctl``, which must succeed."""
        ended = subprocess.run(
            [SCRIPTS / "clusterctl", "--socket", self.control, *arguments],
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=2 * DEADLINE,
            check=False,
        )
        assert ended.returncode == 0, f"{ended}\n{self.running.text()}"


@contextmanager
def site(key: str, *flags: str, workers: int = 4) -> Iterator[Site]:
    """Run a cluster that knows its clients by a key, with balancers in front."""
    with tempfile.TemporaryDirectory(prefix="clusterapp-") as name:
        folder = Path(name)
        authority = trustme.CA()
        tls = ssl.create_default_context()
        authority.configure_trust(tls)
        papers = folder / "papers"
        leaf = authority.issue_cert("127.0.0.1")
        leaf.private_key_and_cert_chain_pem.write_to_path(str(papers))
        spec = f"tls:0:interface=127.0.0.1:certificate={papers}:key={papers}"
        with (
            cluster(
                *("--app", "sessions:app", "--control", str(folder / "control")),
                *("--dispatch", "sticky", "--sticky", key, "--listen", spec),
                *flags,
                workers=workers,
                env={"PYTHONPATH": str(APPS)},
            ) as running,
            balanced_by_nginx(running.port) as by_nginx,
            balanced_by_haproxy(running.port) as by_haproxy,
        ):
            encrypted = re.search(r"https://127\.0\.0\.1:(\d+)", running.text())
            assert encrypted is not None
            ways = [
                Way("nginx", by_nginx),
                Way("haproxy", by_haproxy),
                Way("kept", running.port),
                Way("fresh", running.port, keeps=False),
                Way("tls", int(encrypted[1]), tls=tls),
            ]
            yield Site(running, folder / "control", {way.name: way for way in ways})
