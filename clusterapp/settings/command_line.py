"""
The flags of ``twistd clusterapp``.

This is the one module of settings that reads files and the environment. It is imported
whenever twistd shows its help, and before a reactor is chosen: it must stay light, and
must not import Klein.
"""

import getopt
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from shutil import get_terminal_size
from textwrap import TextWrapper, fill
from typing import Any

from twisted.python import usage

from clusterapp import __version__
from clusterapp.errors import SettingsError
from clusterapp.settings.model import OPTIONS
from clusterapp.settings.option import Option
from clusterapp.settings.print_config import settings_table
from clusterapp.settings.resolution import CONFIG_VARIABLE, ResolvedSettings, resolve
from clusterapp.settings.validation import did_you_mean
from clusterapp.system.regular import read_regular
from twisted import __version__ as twisted_version

#: The file that is read, if it is there, where none is named.
DEFAULT_FILE = "clusterapp.toml"

#: The flags that are no settings, as ``--help`` writes them.
_OTHER_FLAGS = ("config FILE", "check-config", "print-config", "version", "help")
_CONFIG_HELP = (
    f"TOML file with settings, which must exist; also {CONFIG_VARIABLE}. Default: "
    f"{DEFAULT_FILE} in the working directory, if it is there."
)
_MAX_COLUMNS = 100


class SettingsOptions(usage.Options):
    """
    The options of the command line, merged with the environment and the TOML file.

    An error ends the program with status 1 and one line on stderr.

    :param environ: the environment to read; None for that of this process. A copy of
        this moment is kept, since an application may change it.
    :param read: returns a file's content; None to read it in the working folder of this
        moment.
    :ivar arguments: the command line that was parsed.
    :ivar settings: the settings in force, after `parseOptions`.
    :ivar origins: their sources, as in `ResolvedSettings`.
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
        read: Callable[[str], bytes] | None = None,
    ) -> None:
        super().__init__()
        self.arguments: tuple[str, ...] = ()
        self.environ = dict(os.environ if environ is None else environ)
        folder = Path.cwd()
        self._read = read or (lambda name: read_regular(folder / name))
        self._flags: dict[str, Any] = {}

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """
        Parse a command line; twistd calls this.

        :raise SystemExit: something in it is wrong, or nothing is to be started.
        """
        self.arguments = tuple(options or self.arguments)
        try:
            super().parseOptions(options)
        except usage.UsageError as error:
            hint = self._nearest_flag(error.__context__)
            raise SystemExit(f"clusterapp: {error}{hint}") from error

    def parseArgs(self, *arguments: str) -> None:
        """Refuse positional arguments."""
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
        """Resolve the settings, and print them for ``--print-config``."""
        try:
            resolved = self.resolve()
        except SettingsError as error:
            raise SystemExit(f"clusterapp: {error}") from error
        self.settings, self.origins = resolved.settings, resolved.origins
        if self["print-config"]:
            sys.stdout.write(settings_table(resolved))
            raise SystemExit(0)

    def getUsage(self, width: int | None = None) -> str:
        """Return the text of ``--help``, with flags in the order of documentation."""
        columns = width or min(get_terminal_size().columns, _MAX_COLUMNS)
        lines = ["", fill(self.longdesc, columns), "", "Options:"]
        indent = " " * 6
        wrapper = TextWrapper(columns, indent, indent, break_on_hyphens=False)
        for option in OPTIONS:
            text = f"{option.description} Default: {option.default_text}."
            lines += [f"  {option.usage}", wrapper.fill(text)]
        for flag in _OTHER_FLAGS:
            text = self.docs[flag.partition(" ")[0]].strip()
            lines += [f"  --{flag}", wrapper.fill(text)]
        return "\n".join([*lines, ""])

    def resolve(self) -> ResolvedSettings:
        """
        Read the environment and the TOML file, and merge them with the flags.

        :raise SettingsError: one of them is wrong.
        """
        name, toml = self._toml()
        return resolve(
            toml=toml, toml_name=name, environ=self.environ, flags=self._flags
        )

    def _toml(self) -> tuple[str, str | None]:
        """Return the name of the TOML file, and its text if there is one."""
        named = self["config"] or self.environ.get(CONFIG_VARIABLE, "").strip()
        name = named or DEFAULT_FILE
        try:
            return name, self._read(name).decode("utf-8")
        except UnicodeDecodeError as error:
            raise SettingsError(f"{name} is not in UTF-8: {error}") from error
        except OSError as error:
            if isinstance(error, FileNotFoundError) and not named:
                return name, None
            raise SettingsError(f"cannot read {name}: {error.strerror}") from error

    def _nearest_flag(self, cause: BaseException | None) -> str:
        """Suggest the flag that is nearest to an unknown one."""
        known = {name.rstrip("="): f"--{name.rstrip('=')}" for name in self.longOpt}
        if not isinstance(cause, getopt.GetoptError) or cause.opt in known:
            return ""
        return did_you_mean(cause.opt, known)


def _add_flag(option: Option[Any]) -> None:
    """Add the method to `SettingsOptions` by which Twisted's usage parses a flag."""

    def store(self: SettingsOptions, text: str) -> None:
        earlier = self._flags.get(option.name, [])
        self._flags[option.name] = [*earlier, text] if option.type.repeatable else text

    def switch_on(self: SettingsOptions) -> None:
        self._flags[option.name] = True

    # By its parameters `usage.Options` tells whether a flag takes an argument.
    method = store if option.type.metavar else switch_on
    method.__doc__ = option.description
    setattr(SettingsOptions, f"opt_{option.name}", method)


for _option in OPTIONS:
    _add_flag(_option)
