"""
The precedence of sources: defaults < TOML file < environment < flags.

A value that a stronger source replaces is not validated; a name that no setting has is
an error in every source.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from clusterapp.errors import SettingsError
from clusterapp.settings.model import OPTIONS, Settings
from clusterapp.settings.option import PREFIX
from clusterapp.settings.validation import (
    DEFAULT,
    InvalidSettingsError,
    did_you_mean,
)

#: The variable that names the TOML file; it is no setting.
CONFIG_VARIABLE = PREFIX + "CONFIG"

#: What Kubernetes sets in every container for a service named clusterapp or
#: clusterapp-something ("environment variables" of its services, after Docker's
#: old links). The operator has not written them, so they are no typing errors.
_SERVICE_VARIABLE = re.compile(
    r"\w+_SERVICE_(HOST|PORT(_\w+)?)|\w+_PORT_\d+_(TCP|UDP|SCTP)(_\w+)?"
)
_SERVICE_ADDRESS = re.compile(r"(tcp|udp|sctp)://.*")

#: The name of a setting, its value in a source, and the name of that source.
_Value = tuple[str, Any, str]


@dataclass(frozen=True)
class ResolvedSettings:
    """
    The settings in force.

    :ivar settings: the settings.
    :ivar origins: the source of each, by its name.
    """

    settings: Settings
    origins: Mapping[str, str]


def resolve(
    *,
    toml: str | None,
    toml_name: str,
    environ: Mapping[str, str],
    flags: Mapping[str, object],
) -> ResolvedSettings:
    """
    Merge the sources of settings; the strongest one that has a value wins.

    :param toml: the text of the TOML file; ``None`` if there is none.
    :param toml_name: the name of the file, for errors.
    :param environ: the environment. An empty variable counts as not set.
    :param flags: the flags that were given, by the names of their settings. Text is
        read as it is in the environment; other values are taken as they are.
    :raise SettingsError: in one line, with the setting, its value and its source.
    """
    values: dict[str, Any] = {}
    origins = {option.name: DEFAULT for option in OPTIONS}
    for name, value, origin in chain(
        _toml_values(toml or "", toml_name), _variables(environ), _flags(flags)
    ):
        values[name], origins[name] = value, origin
    try:
        return ResolvedSettings(Settings(**values), origins)
    except InvalidSettingsError as error:
        raise InvalidSettingsError(error.values, error.reason, origins) from error


def _toml_values(toml: str, toml_name: str) -> Iterator[_Value]:
    try:
        document = tomllib.loads(toml)
    except ValueError as error:
        # Not only TOMLDecodeError: an overlong number is a plain ValueError.
        raise SettingsError(f"{toml_name} is not TOML: {error}") from error
    known = {option.name: option.name for option in OPTIONS}
    for name, value in document.items():
        if isinstance(value, dict):
            raise SettingsError(
                f"the table {name!r} (from {toml_name}) is none of ours; settings "
                "stand at the top of the file, in no table"
            )
        if name not in known:
            raise _unknown(name, toml_name, did_you_mean(name, known))
        yield name, value, toml_name


def _variables(environ: Mapping[str, str]) -> Iterator[_Value]:
    _refuse_unknown_variables(environ)
    for option in OPTIONS:
        for variable, template in option.variables.items():
            text = environ.get(variable, "").strip()
            if text:
                value = option.type.read(template.format(text))
                yield option.name, value, f"{variable} in the environment"
                break


def _refuse_unknown_variables(environ: Mapping[str, str]) -> None:
    """Find typing errors among the variables with our prefix."""
    # Names are compared without the prefix, which makes all of them similar.
    known = {option.name.upper(): PREFIX + option.name.upper() for option in OPTIONS}
    known["CONFIG"] = CONFIG_VARIABLE
    for variable, text in environ.items():
        name = variable.removeprefix(PREFIX)
        if name == variable or name in known or not text.strip():
            continue
        if _SERVICE_VARIABLE.fullmatch(variable) or _SERVICE_ADDRESS.fullmatch(text):
            continue
        raise _unknown(variable, "the environment", did_you_mean(name, known))


def _flags(flags: Mapping[str, object]) -> Iterator[_Value]:
    for option in OPTIONS:
        value = flags.get(option.name)
        if value is not None:
            read = option.type.read(value) if isinstance(value, str) else value
            yield option.name, read, option.flag


def _unknown(name: str, source: str, hint: str) -> SettingsError:
    return SettingsError(f"unknown setting {name!r} (from {source}){hint}")
