"""The declaration of one setting, from which its flag, variables and texts follow."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Generic, cast

from clusterapp.settings.option_types import OptionType, T

#: The prefix of the environment variables of settings.
PREFIX = "CLUSTERAPP_"


@dataclass(frozen=True)
class Option(Generic[T]):
    """
    The declaration of a setting, in the metadata of a field of `Settings`.

    :ivar type: the values that it can have.
    :ivar default: the value where no source has one.
    :ivar example: a value, for the documentation.
    :ivar unset: the meaning of having no value.
    :ivar aliases: environment variables that other programs read, too, the strongest
        first, each with a template: the option's text, with ``{}`` for the variable's.
    :ivar description: what it is for, in one or two sentences, without the default.
    :ivar name: its name in Python and in TOML.
    """

    type: OptionType[T]
    default: T | None
    example: object
    unset: str = "none"
    aliases: Mapping[str, str] = field(default_factory=dict)
    description: str = ""
    name: str = ""

    def help(self, text: str) -> T:
        """Return the dataclass field of the option, with its description."""
        described = replace(self, description=" ".join(text.split()))
        return cast("T", field(default=self.default, metadata={"option": described}))

    @property
    def flag(self) -> str:
        """Its flag on the command line."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def usage(self) -> str:
        """Its flag with a placeholder for the value."""
        return f"{self.flag} {self.type.metavar}".rstrip()

    @property
    def variables(self) -> Mapping[str, str]:
        """Every environment variable that it is read from, as in `aliases`."""
        return {PREFIX + self.name.upper(): "{}", **self.aliases}

    @property
    def default_text(self) -> str:
        """Its default, for people to read."""
        return self.unset if self.default is None else self.format(self.default)

    def format(self, value: T | None) -> str:
        """Return one of its values in one line, for people to read."""
        return f"({self.unset})" if value is None else self.type.format(value)
