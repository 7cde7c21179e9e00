"""A generation: the code, the settings and the environment that workers start with."""

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from clusterapp.errors import SettingsError
from clusterapp.settings.model import Settings

#: Variables that systemd sets for the master, not for its children: sd_listen_fds(3),
#: sd_notify(3), sd_watchdog_enabled(3).
_OF_THE_MASTER = frozenset(
    {
        *("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"),
        *("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"),
    }
)


@dataclass(frozen=True)
class Generation:
    """
    All that may differ between two deploys.

    It is captured once: a worker that restarts after a crash gets the code that the
    other workers run, even if a symbolic link points elsewhere by then.

    :param number: its number, from 1.
    :param settings: the operator's settings.
    :param folder: the working folder, without symbolic links.
    :param environment: the environment of its processes.
    :param path: the `sys.path` of its processes, without symbolic links.
    :param umask: the umask of its processes.
    :param started_in: the folder that the master was started in, by its name: what is
        there now may be another one.
    """

    number: int
    settings: Settings
    folder: str
    environment: Mapping[str, str]
    path: tuple[str, ...]
    umask: int
    started_in: str


class LaunchContext:
    """
    The process state that a master was started in, resolved for each generation.

    Environment, import path and umask are captured when this is created. An
    application that the master loads for its core may change its own, and no later
    generation starts with what an earlier one has set.

    :param environ: the master's environment; None for the present one. PWD in it is
        the shell's name for the working folder.
    :ivar environ: a copy of it.
    """

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self.environ = dict(os.environ if environ is None else environ)
        self._import_path = tuple(sys.path)
        self._umask = _umask()
        self._started_in = logical_folder(self.environ)
        self._twistd = _find_twistd(self._started_in)
        #: The targets of paths with symbolic links, mapped to these paths.
        self._led_to: dict[str, str] = {}
        self._note(self._started_in)

    def take(self, number: int, settings: Settings) -> Generation:
        """
        Return a new generation, with paths as they resolve now.

        :param number: its number.
        :param settings: its settings.
        :raise SettingsError: if its working folder does not exist.
        """
        folder = self.folder(settings)
        environment = {
            name: value
            for name, value in self.environ.items()
            if name not in _OF_THE_MASTER
        }
        path = tuple(dict.fromkeys(self._path(folder, settings)))
        return Generation(
            number,
            settings,
            folder,
            environment,
            path,
            self._umask,
            self._started_in,
        )

    @property
    def started_in(self) -> str:
        """The folder that the master was started in, by the shell's name for it."""
        return self._started_in

    @property
    def twistd(self) -> str | None:
        """The path of the ``twistd`` that runs this master; None if it is not known."""
        return self._twistd

    def named_folder(self, settings: Settings) -> str:
        """Return the working folder by the operator's name for it, links included."""
        return str(Path(self._started_in, settings.working_folder or ""))

    def folder(self, settings: Settings) -> str:
        """
        Return the working folder with symbolic links resolved as of now.

        :raise SettingsError: if it does not exist.
        """
        wanted = Path(self.named_folder(settings))
        if not wanted.is_dir():
            raise SettingsError(f"the working folder {wanted} is not there")
        return self._note(str(wanted))

    def _note(self, name: str) -> str:
        found = os.path.realpath(name)
        if found != os.path.normpath(name):
            self._led_to.setdefault(found, name)
        return found

    def _path(self, folder: str, settings: Settings) -> Iterator[str]:
        """Yield the `sys.path` that the master would have if it were started now."""
        if settings.working_folder is not None:
            yield folder
        for entry in self._import_path:
            yield self._now(os.path.realpath(Path(self._started_in, entry)))

    def _now(self, found: str) -> str:
        """Return where a path is now that once resolved through a symbolic link."""
        for before, name in self._led_to.items():
            if Path(found).is_relative_to(before):
                return str(Path(os.path.realpath(name), os.path.relpath(found, before)))
        return found


def _umask() -> int:
    """Return the umask of this process, which can only be read by setting it."""
    umask = os.umask(0o077)
    os.umask(umask)
    return umask


def _find_twistd(folder: str) -> str | None:
    """
    Return the path of this process's ``twistd``, or that beside its interpreter.

    :param folder: the folder that relative paths start from.
    """
    # Some distributions call it twistd3. The program name is of no use for ``python -m
    # twisted`` and for programs that embed a cluster.
    program = Path(folder, sys.argv[0])
    beside = Path(folder, sys.executable).with_name("twistd")
    candidates = (program, beside) if program.name.startswith("twistd") else (beside,)
    return next((str(each) for each in candidates if each.is_file()), None)


def logical_folder(environ: Mapping[str, str]) -> str:
    """Return the working folder by the shell's name for it, links included."""
    here = str(Path.cwd())
    named = environ.get("PWD", "")
    if Path(named).is_absolute() and os.path.realpath(named) == os.path.realpath(here):
        return named
    return here
