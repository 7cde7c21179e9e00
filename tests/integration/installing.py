"""Building the distributions, and installing them where nothing of ours is."""

import shutil
import subprocess
import sys
import venv
from pathlib import Path

from tests.integration.running import ROOT, clean_environment

#: How long a step may take that asks a package registry, in seconds.
REGISTRY_DEADLINE = 240.0


def sources() -> list[str]:
    """Name the files and folders that a build needs: the image's build context."""
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    return [line[1:] for line in lines if line.startswith("!")]


def copy_sources(folder: Path) -> Path:
    """Copy what a build needs, and nothing else, to a new folder."""
    folder.mkdir()
    cached = shutil.ignore_patterns("__pycache__", "dropin.cache")
    for name in sources():
        source, target = ROOT / name, folder / name
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True, ignore=cached)
        else:
            shutil.copyfile(source, target)
    return folder


def run(*command: object, cwd: Path | None = None) -> str:
    """Run a command that must succeed; return what it printed."""
    ended = subprocess.run(
        [*map(str, command)],
        cwd=cwd,
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=REGISTRY_DEADLINE,
        check=False,
    )
    assert ended.returncode == 0, f"{ended.args}: {ended.stdout}"
    return ended.stdout


def build(checkout: Path, target: Path) -> tuple[Path, Path]:
    """Build the sdist, and the wheel from that; return their paths."""
    run(sys.executable, "-m", "build", "--outdir", target, checkout)
    (sdist,) = target.glob("*.tar.gz")
    (wheel,) = target.glob("*.whl")
    return sdist, wheel


class FreshEnvironment:
    """
    A virtual environment that has nothing but a wheel and what that depends on.

    :param folder: where to make it.
    :param wheel: what to install.
    """

    def __init__(self, folder: Path, wheel: Path) -> None:
        venv.create(folder)
        self.scripts = folder / "bin"
        self.python = self.scripts / "python"
        self._wheel = wheel
        self.pip("install", wheel)

    def pip(self, *arguments: object) -> str:
        """Run pip for the environment, which has none of its own."""
        flags = ("--disable-pip-version-check", "--no-input", "--quiet")
        pip = (sys.executable, "-m", "pip", "--python", self.python)
        return run(*pip, *flags, *arguments)

    def uninstall(self) -> None:
        """Take clusterapp away, and leave its dependencies."""
        self.pip("uninstall", "--yes", "clusterapp")

    def install_again(self) -> None:
        """Put clusterapp back."""
        self.pip("install", "--no-deps", self._wheel)
