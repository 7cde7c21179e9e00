"""The image's entrypoint as PID 1, in a PID namespace instead of a container."""

import json
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.integration.running import (
    APPS,
    DEADLINE,
    ROOT,
    SCRIPTS,
    RunningCluster,
    children_of,
    clean_environment,
    eventually,
)
from tests.ports import free_port

#: Starts a command as PID 1 that dies with unshare(1), with a /proc of its own.
UNSHARE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


def unshare() -> tuple[str, ...]:
    """Return the command that makes the next one PID 1, root or not."""
    if os.geteuid() == 0:
        return UNSHARE
    return (*UNSHARE, "--user", "--map-root-user")


def why_not() -> str | None:
    """Return why no PID namespace can be made here, if none can."""
    try:
        ended = subprocess.run(
            [*unshare(), "true"],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
    except FileNotFoundError as error:
        return str(error)
    return ended.stderr.strip() if ended.returncode else None


def dockerfile_command(instruction: str) -> list[str]:
    """Return the command, in JSON, of one of the Dockerfile's instructions."""
    text = (ROOT / "Dockerfile").read_text("utf-8").replace("\\\n", "")
    found = re.search(rf"^{instruction}\b[^\[\n]*(\[.*\])$", text, re.MULTILINE)
    assert found is not None, instruction
    command: list[str] = json.loads(found[1])
    return command


class Contained(RunningCluster):
    """
    The Dockerfile's entrypoint as PID 1, with one worker.

    :param state: the state folder.
    :param env: what is added to the environment, which says PORT already.
    """

    def __init__(self, *, state: Path, env: dict[str, str]) -> None:
        path = f"{SCRIPTS}:{os.environ['PATH']}"
        self.env = {
            "PATH": path,
            "PORT": str(free_port()),
            "CLUSTERAPP_STATE": str(state),
            **env,
        }
        entrypoint = dockerfile_command("ENTRYPOINT")
        arguments = ("--app", "orphans:app", "--workers", "1")
        command = (*unshare(), *entrypoint, *arguments)
        super().__init__(command, workers=1, cwd=APPS, env=self.env)

    @property
    def pid(self) -> int:
        """The master's pid, as it is seen from outside of the namespace."""
        (master,) = children_of(self.process.pid)
        return master

    def signal(self, number: int) -> None:
        """Send PID 1 a signal."""
        os.kill(self.pid, number)

    def leave_orphan(self) -> int:
        """Make a worker leave an orphaned process to PID 1; return its pid."""
        before = self.children()
        self.get("/orphan")
        eventually(lambda: self.children() != before)
        (orphan,) = self.children() - before
        return orphan

    def health(self) -> int:
        """Ask as the Dockerfile's HEALTHCHECK does; return the exit status."""
        ended = subprocess.run(
            dockerfile_command("HEALTHCHECK"),
            cwd=APPS,
            env={**clean_environment(), **self.env},
            capture_output=True,
            timeout=DEADLINE,
            check=False,
        )
        return ended.returncode

    def close(self) -> None:
        """End the namespace, with all that is in it."""
        if self.process.poll() is None:
            # unshare(1) waits for its child whatever TERM it gets.
            self.process.send_signal(signal.SIGKILL)
        super().close()


@contextmanager
def contained(**env: str) -> Iterator[Contained]:
    """Run the entrypoint as PID 1 until it is ready."""
    with tempfile.TemporaryDirectory(prefix="clusterapp-") as state:
        running = Contained(state=Path(state) / "state", env=env)
        try:
            yield running.started()
        finally:
            running.close()
