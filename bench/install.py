"""Put the peers, at the versions that are pinned here, into a cache folder."""

import fcntl
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from bench.errors import BenchError
from bench.works import STATIC_FILES, static_text

HERE = Path(__file__).resolve().parent
APPS = HERE / "apps"
REQUIREMENTS = HERE / "requirements.txt"
EXPRESS = APPS / "express"

#: Which Debian package has a program that we do not install ourselves.
_PACKAGES = {"nginx": "nginx", "wrk": "wrk", "node": "nodejs", "npm": "npm"}


class Cache:
    """
    A folder with what the servers need, filled as it is asked for.

    What is there already, at the right version, is not installed again.

    :param root: the folder; made if it is missing.
    :param say: is told what is being done, since it takes a while.
    """

    def __init__(self, root: Path, say: Callable[[str], None]) -> None:
        self._root = root
        self._say = say

    @contextmanager
    def alone(self) -> Iterator[None]:
        """
        Wait until no other bench uses the folder, and keep others out meanwhile.

        Two at once would spoil each other's installations, and their figures.

        :raise BenchError: the folder cannot be made.
        """
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            lock = (self._root / "lock").open("w")
        except OSError as error:
            raise BenchError(f"--cache: {error}") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._say(f"waiting for another bench, which uses {self._root}")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def python_peers(self) -> Path:
        """
        Install the peers that are written in Python.

        :return: the programs of their virtual environment.
        :raise BenchError: pip fails.
        """
        wanted = REQUIREMENTS.read_text("utf-8")
        return self._environment("python", wanted, "-r", str(REQUIREMENTS))

    def clusterapp(self, checkout: Path) -> Path:
        """
        Install a checkout of clusterapp so that edits of its code count at once.

        :return: the programs of its virtual environment, which is its own.
        :raise BenchError: it is no checkout, or pip fails.
        """
        metadata = checkout / "setup.cfg"
        if not metadata.is_file():
            raise BenchError(f"{checkout} is no checkout of clusterapp: no setup.cfg")
        place = sha256(str(checkout).encode()).hexdigest()[:12]
        wanted = f"{checkout}\n{metadata.read_text('utf-8')}"
        return self._environment(f"clusterapp-{place}", wanted, "-e", str(checkout))

    def express(self) -> Path:
        """
        Install Express and what goes with it, and our applications beside it.

        :return: the folder of the applications.
        :raise BenchError: node or npm is missing, or npm fails.
        """
        find_program("node")
        folder = self._root / "express"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copytree(EXPRESS, folder, dirs_exist_ok=True)
        shutil.copytree(APPS / "templates", folder / "templates", dirs_exist_ok=True)
        shutil.copy(APPS / "rows.json", folder)
        wanted = (EXPRESS / "package-lock.json").read_text("utf-8")
        stamp = folder / "node_modules" / ".clusterapp-bench"
        if _read(stamp) != wanted:
            self._run(find_program("npm"), "ci", "--no-audit", "--no-fund", cwd=folder)
            stamp.write_text(wanted, "utf-8")
        return folder

    def static(self) -> Path:
        """Write the files that are to be served, and return their folder."""
        folder = self._root / "static"
        folder.mkdir(parents=True, exist_ok=True)
        for name, size in STATIC_FILES.items():
            file = folder / name
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(static_text(name, size))
        return folder

    def _environment(self, name: str, wanted: str, *packages: str) -> Path:
        """Make a virtual environment, unless one for the same wishes is there."""
        wanted = f"{sys.version}\n{wanted}"
        folder = self._root / name
        stamp = folder / "clusterapp-bench"
        if _read(stamp) != wanted:
            self._run(sys.executable, "-m", "venv", "--clear", str(folder))
            self._run(str(folder / "bin" / "pip"), "install", "-q", *packages)
            stamp.write_text(wanted, "utf-8")
        return folder / "bin"

    def _run(self, *command: str, cwd: Path | None = None) -> None:
        self._say(" ".join(command))
        done = subprocess.run(
            command, cwd=cwd, text=True, capture_output=True, check=False
        )
        if done.returncode:
            raise BenchError(
                f"{' '.join(command)} ended with status {done.returncode}:\n"
                f"{done.stdout}{done.stderr}"
            )


def find_program(name: str) -> str:
    """
    Find a program that the system has.

    :raise BenchError: it has not; the message names the Debian package.
    """
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if found is None:
        raise BenchError(
            f"{name} is not on PATH; on Debian and Ubuntu:"
            f" apt-get install {_PACKAGES[name]}"
        )
    return found


def _read(stamp: Path) -> str | None:
    return stamp.read_text("utf-8") if stamp.is_file() else None
