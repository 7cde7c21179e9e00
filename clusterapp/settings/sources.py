"""
Where settings come from: defaults < TOML < environment < flags.

Everything here works on text and mappings; `clusterapp.settings.options` is what
reads files and the environment. A value that a stronger source replaces is not
judged; a name that no setting has is an error in every source.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from clusterapp.errors import SettingsError
from clusterapp.settings.model import SETTINGS, Settings
from clusterapp.settings.problems import DEFAULT, WrongSettingsError, nearest
from clusterapp.settings.table import PREFIX, Setting

#: The variable that names the TOML file; it is no setting.
CONFIG_VARIABLE = PREFIX + "CONFIG"

#: What Kubernetes sets in every container for a service named clusterapp or
#: clusterapp-something ("environment variables" of its services, after Docker's
#: old links). They are not the operator's words, so they are no typing errors.
_SERVICE_VARIABLE = re.compile(
    r"\w+_SERVICE_(HOST|PORT(_\w+)?)|\w+_PORT_\d+_(TCP|UDP|SCTP)(_\w+)?"
)
_SERVICE_ADDRESS = re.compile(r"(tcp|udp|sctp)://.*")


@dataclass(frozen=True)
class Chosen:
    """
    The settings that hold, and why.

    :ivar settings: the settings.
    :ivar origins: the source of each, by its name.
    """

    settings: Settings
    origins: Mapping[str, str]


@dataclass(frozen=True)
class _Given:
    """A value that one source has for one setting."""

    name: str
    value: Any
    origin: str


def from_sources(
    *,
    toml: str | None,
    toml_name: str,
    environ: Mapping[str, str],
    flags: Mapping[str, object],
) -> Chosen:
    """
    Merge the sources of settings; the strongest one that has a value wins.

    :param toml: the text of the TOML file; ``None`` if there is none.
    :param toml_name: what to call the file.
    :param environ: the environment. An empty variable counts as not set.
    :param flags: the flags that were given, by the names of their settings. Text is
        read as it is in the environment; other values are taken as they are.
    :raise SettingsError: in one line, with the setting, its value and its source.
    """
    given = {
        value.name: value
        for source in (
            _from_toml(toml or "", toml_name),
            _from_environ(environ),
            _from_flags(flags),
        )
        for value in source
    }
    origins = {
        setting.name: given[setting.name].origin if setting.name in given else DEFAULT
        for setting in SETTINGS
    }
    try:
        settings = Settings(**{name: value.value for name, value in given.items()})
    except WrongSettingsError as error:
        raise error.traced(origins) from error
    return Chosen(settings, origins)


def _from_toml(toml: str, toml_name: str) -> Iterator[_Given]:
    """Take what a TOML file says; its keys are the names of settings."""
    try:
        document = tomllib.loads(toml)
    except ValueError as error:
        # Not only TOMLDecodeError: an overlong number is a plain ValueError.
        raise SettingsError(f"{toml_name} is not TOML: {error}") from error
    known = {setting.name: setting.name for setting in SETTINGS}
    for name, value in document.items():
        if isinstance(value, dict):
            raise SettingsError(
                f"the table {name!r} (from {toml_name}) is none of ours; settings "
                "stand at the top of the file, in no table"
            )
        if name not in known:
            raise _unknown(name, toml_name, nearest(name, known))
        yield _Given(name, value, toml_name)


def _from_environ(environ: Mapping[str, str]) -> Iterator[_Given]:
    """Take what the environment says."""
    _refuse_unknown_variables(environ)
    for setting in SETTINGS:
        for alias in setting.variables:
            text = environ.get(alias.variable, "").strip()
            if text:
                value = setting.about.kind.read(alias.template.format(text))
                origin = f"{alias.variable} in the environment"
                yield _Given(setting.name, value, origin)
                break


def _refuse_unknown_variables(environ: Mapping[str, str]) -> None:
    """Find typing errors among the variables that are meant for us."""
    known = {setting.variable: setting.variable for setting in SETTINGS}
    known[CONFIG_VARIABLE] = CONFIG_VARIABLE
    # Names are compared without what all of them begin with.
    short = {name.removeprefix(PREFIX): name for name in known}
    for name, text in environ.items():
        if not name.startswith(PREFIX) or name in known or not text.strip():
            continue
        if _SERVICE_VARIABLE.fullmatch(name) or _SERVICE_ADDRESS.fullmatch(text):
            continue
        hint = nearest(name.removeprefix(PREFIX), short)
        raise _unknown(name, "the environment", hint)


def _from_flags(flags: Mapping[str, object]) -> Iterator[_Given]:
    """Take what the command line says."""
    for setting in SETTINGS:
        value = flags.get(setting.name)
        if value is None:
            continue
        yield _Given(setting.name, _from_flag(setting, value), f"--{setting.flag}")


def _from_flag(setting: Setting, value: object) -> object:
    return setting.about.kind.read(value) if isinstance(value, str) else value


def _unknown(name: str, source: str, hint: str) -> SettingsError:
    return SettingsError(f"unknown setting {name!r} (from {source}){hint}")
