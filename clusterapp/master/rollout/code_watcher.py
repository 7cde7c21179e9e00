"""Watching the application's code, for automatic reloads in development."""

from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Final

from twisted.application.service import Service
from twisted.logger import Logger

from clusterapp.guards import guarded

if TYPE_CHECKING:
    from watchfiles import Change

#: Changes are reported after a pause of so many milliseconds; the thread checks no
#: less often whether to stop.
_PAUSE: Final = 50
#: Continuous changes are reported after so many milliseconds at the latest.
_LONGEST_WAIT: Final = 1000

_SETTINGS: Final = "clusterapp.toml"
#: Folders without code of the application, at any depth.
_FOREIGN: Final = frozenset(
    {"__pycache__", "node_modules", "site-packages", "dist-packages"}
)
#: How the names of editors' own copies of a file begin and end.
_COPIES_BEGIN: Final = (".", "flycheck_")
_COPIES_END: Final = "_flymake.py"


class CodeWatch(Service):
    """
    Reports changes of code: Python files, and ``clusterapp.toml``.

    Changes that follow each other closely are reported together. Hidden folders and
    installed packages are ignored.

    :param reactor: the reactor in whose thread changes are reported.
    :param folders: the folders to watch, with all below them.
    :param changed: called with the paths that were written, created or removed.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        folders: Iterable[Path],
        changed: Callable[[frozenset[Path]], None],
    ) -> None:
        self._reactor = reactor
        self._folders = tuple(folders)
        self._changed = changed
        self._stop = Event()
        self._thread: Thread | None = None

    def startService(self) -> None:
        """Start the watching thread."""
        super().startService()
        self._stop = Event()
        self._thread = Thread(
            target=self._watch, args=(self._stop,), name="code watch", daemon=True
        )
        self._thread.start()

    def stopService(self) -> None:
        """Stop and join the thread; nothing is reported afterwards."""
        super().stopService()
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self, stop: Event) -> None:
        """Watch until the event is set; the target of the thread."""
        # Imported late: only development needs it, and it imports much.
        from watchfiles import watch  # noqa: PLC0415

        try:
            for changes in watch(
                *self._folders,
                watch_filter=self._counts,
                debounce=_LONGEST_WAIT,
                step=_PAUSE,
                stop_event=stop,
                ignore_permission_denied=True,
            ):
                paths = frozenset(Path(path) for _, path in changes)
                self._reactor.callFromThread(self._notify, paths)
        except (OSError, RuntimeError) as error:
            self._reactor.callFromThread(self._cannot_watch, error)

    def _counts(self, _change: "Change", path: str) -> bool:
        return any(_is_code(below) for below in self._below(Path(path)))

    def _below(self, path: Path) -> Iterator[Path]:
        """Yield a path relative to watched folders, whose own names do not count."""
        for folder in self._folders:
            if path.is_relative_to(folder):
                yield path.relative_to(folder)

    @guarded("handle changed files")
    def _notify(self, paths: frozenset[Path]) -> None:
        if self.running:
            self._changed(paths)

    @guarded("handle a failure to watch files")
    def _cannot_watch(self, error: Exception) -> None:
        self._log.error(
            "code is not watched any more, reload by hand: {error}", error=error
        )


def folders_of_code(working_folder: Path, *specs: str | None) -> list[Path]:
    """
    Return the folders of an application's code: the working folder and any others.

    Nothing is imported for that. Installed packages and modules that cannot be
    found are ignored.

    :param working_folder: the working folder, absolute.
    :param specs: the applications, as ``module:name``.
    """
    folders = [working_folder]
    for spec in specs:
        home = None if spec is None else _home(spec.partition(":")[0].partition(".")[0])
        if home is not None and not any(map(home.is_relative_to, folders)):
            folders.append(home)
    return folders


def _home(module: str) -> Path | None:
    """Return the folder of a top-level module, or of a package; None if ignored."""
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None or not spec.has_location:
        return None
    home = Path(spec.origin).absolute().parent
    return None if _FOREIGN.intersection(home.parts) else home


def _is_code(below: Path) -> bool:
    *folders, name = below.parts or ("",)
    if any(each[0] == "." or each in _FOREIGN for each in folders):
        return False
    if name == _SETTINGS:
        return True
    is_copy = name.startswith(_COPIES_BEGIN) or name.endswith(_COPIES_END)
    return name.endswith(".py") and not is_copy
