"""
The flags of ``twistd clusterapp``, made from the table of settings.

This is the one module of settings that reads files and the environment. It is
imported whenever twistd shows its help, and before a reactor is chosen: it must
stay light, and must not import Klein.
"""

import getopt
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from shutil import get_terminal_size
from typing import NoReturn

from twisted.python import usage

from clusterapp import __version__
from clusterapp.errors import SettingsError
from clusterapp.regular import read_regular
from clusterapp.settings.model import SETTINGS
from clusterapp.settings.problems import nearest
from clusterapp.settings.show import options_text, settings_text
from clusterapp.settings.sources import CONFIG_VARIABLE, Chosen, from_sources
from clusterapp.settings.table import Setting
from twisted import __version__ as twisted_version

#: The file that is read, if it is there, where none is named.
DEFAULT_FILE = "clusterapp.toml"

#: The flags that are no settings, as ``--help`` writes them.
_NO_SETTINGS = {
    "config": "--config FILE",
    "check-config": "--check-config",
    "print-config": "--print-config",
    "version": "--version",
    "help": "--help",
}
_CONFIG_HELP = (
    f"TOML file with settings, which must exist; also {CONFIG_VARIABLE}. Default: "
    f"{DEFAULT_FILE} in the working directory, if it is there."
)
_WIDEST = 100


def read_file(name: str) -> str:
    """
    Read a TOML file.

    :raise OSError: it cannot be read.
    :raise UnicodeDecodeError: it is not in UTF-8, which TOML requires.
    """
    return read_regular(name).decode("utf-8")


def _reader_in(folder: Path) -> Callable[[str], str]:
    """Read files as `read_file`, relative to a folder whatever chdir(2) comes later."""
    return lambda name: read_file(str(folder / name))


class Options(usage.Options):
    """
    What the command line, the environment and the TOML file say.

    After `parseOptions`, ``settings`` and ``origins`` are those of `Chosen`,
    ``arguments`` is what was parsed, and
    ``self["check-config"]`` tells whether the caller is only to check them. A
    mistake ends the program with status 1 and one line on stderr.

    :param environ: the environment to read; None for that of this process. A copy of
        this moment is kept, since an application may change it.
    :param read: gives a file's text; raises what `read_file` raises. None to read
        files, relative to the working folder of this moment.
    :ivar environ: that copy.
    """

    synopsis = "[clusterapp options]"

    longdesc = (
        "Serve an application from a pool of worker processes on shared listening "
        "sockets, as in: twistd -n clusterapp --app shop:app --workers 4 --listen "
        "tcp:8080. Without --app, a demo site is served. Each setting can also "
        f"stand in {DEFAULT_FILE} (graceful_timeout = 10) and in the environment "
        "(CLUSTERAPP_GRACEFUL_TIMEOUT=10); flags win over the environment, which "
        "wins over the file."
    )

    optParameters = (("config", None, None, _CONFIG_HELP),)

    optFlags = (
        ("check-config", None, "Check settings and application, start nothing."),
        ("print-config", None, "Print each setting with its source, start nothing."),
    )

    def __init__(
        self,
        environ: Mapping[str, str] | None = None,
        read: Callable[[str], str] | None = None,
    ) -> None:
        super().__init__()
        self.arguments: tuple[str, ...] = ()
        self.environ = dict(os.environ if environ is None else environ)
        self._read = read or _reader_in(Path.cwd())
        self._single: dict[str, str | bool] = {}
        self._repeated: dict[str, list[str]] = {}

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """
        Parse a command line; twistd calls this.

        :raise SystemExit: something in it is wrong, or nothing is to be started.
        """
        if options is not None:
            self.arguments = tuple(options)
        try:
            super().parseOptions(options)
        except usage.UsageError as error:
            _fail(f"{error}{self._nearest_flag(error.__context__)}")

    def parseArgs(self, *arguments: str) -> None:
        """Refuse what is left of the command line after its flags."""
        if arguments:
            raise usage.UsageError(
                f"unexpected argument {arguments[0]!r}; "
                "an application is named by --app"
            )

    def opt_version(self) -> None:
        """Print the versions of clusterapp and Twisted, and exit."""
        sys.stdout.write(f"clusterapp {__version__}, Twisted {twisted_version}\n")
        raise SystemExit(0)

    def postOptions(self) -> None:
        """Merge the sources, and print the outcome if that is what is wanted."""
        try:
            chosen = self.choose()
        except SettingsError as error:
            _fail(str(error))
        self.settings = chosen.settings
        self.origins = chosen.origins
        if self["print-config"]:
            sys.stdout.write(settings_text(chosen))
            raise SystemExit(0)

    def getUsage(self, width: int | None = None) -> str:
        """Describe every flag, in the order of the documentation."""
        others = [
            (flag, self.docs[name].strip()) for name, flag in _NO_SETTINGS.items()
        ]
        columns = width or min(get_terminal_size().columns, _WIDEST)
        return options_text(self.longdesc, others, columns)

    def choose(self) -> Chosen:
        """
        Read the environment and the TOML file, again if need be, behind the flags.

        :raise SettingsError: if something is wrong with them.
        """
        toml_name, toml = self._toml()
        return from_sources(
            toml=toml,
            toml_name=toml_name,
            environ=self.environ,
            flags={**self._single, **self._repeated},
        )

    def _toml(self) -> tuple[str, str | None]:
        """Find the TOML file: its name, and its text if there is one."""
        named = self["config"] or self.environ.get(CONFIG_VARIABLE, "").strip()
        name = named or DEFAULT_FILE
        try:
            return name, self._read(name)
        except FileNotFoundError as error:
            if not named:
                return name, None
            raise SettingsError(f"cannot read {name}: {error.strerror}") from error
        except OSError as error:
            raise SettingsError(f"cannot read {name}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise SettingsError(f"{name} is not in UTF-8: {error}") from error

    def _nearest_flag(self, cause: BaseException | None) -> str:
        """Say which flag a misspelt one may have been meant for."""
        if not isinstance(cause, getopt.GetoptError):
            return ""
        known = {
            option.rstrip("="): f"--{option.rstrip('=')}" for option in self.longOpt
        }
        return "" if cause.opt in known else nearest(cause.opt, known)


def _fail(line: str) -> NoReturn:
    """End the program with status 1 and one line on stderr."""
    raise SystemExit(f"clusterapp: {line}")


def _add_flag(setting: Setting) -> None:
    """Give `Options` the method by which `usage.Options` knows a flag."""

    def switch_on(self: Options) -> None:
        self._single[setting.name] = True

    def take(self: Options, text: str) -> None:
        if setting.about.kind.repeatable:
            self._repeated.setdefault(setting.name, []).append(text)
        else:
            self._single[setting.name] = text

    # By its parameters `usage.Options` tells whether a flag takes an argument.
    method = take if setting.about.kind.metavar else switch_on
    method.__doc__ = setting.about.help
    setattr(Options, f"opt_{setting.name}", method)


for _setting in SETTINGS:
    _add_flag(_setting)
