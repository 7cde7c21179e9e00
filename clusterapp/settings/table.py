"""What is known of a setting: one row of the table that everything is made from."""

from dataclasses import Field, dataclass
from typing import Any

from clusterapp.settings.kinds import Kind

#: What the environment variables of settings begin with.
PREFIX = "CLUSTERAPP_"


@dataclass(frozen=True)
class Alias:
    """
    A variable of the environment that other programs, too, take for a setting.

    :ivar variable: its name.
    :ivar template: the setting's text, with ``{}`` for the variable's.
    """

    variable: str
    template: str = "{}"


@dataclass(frozen=True, kw_only=True)
class About:
    """
    What the model says of a setting, in the metadata of its field.

    :ivar kind: what values it can have.
    :ivar help: what it is for, in one or two sentences, without the default.
    :ivar example: a value, for the documentation.
    :ivar unset: what it means that there is no value; empty where there always is.
    :ivar aliases: weaker variables of the environment, the strongest first.
    """

    kind: Kind
    help: str
    example: object
    unset: str = ""
    aliases: tuple[Alias, ...] = ()


_ABOUT = "about"


def about(**words: Any) -> dict[str, About]:
    """Make the metadata of a setting's field; the words are those of `About`."""
    return {_ABOUT: About(**words)}


def about_of(row: Field[Any]) -> About:
    """Give what the metadata of a field say of its setting."""
    found: About = row.metadata[_ABOUT]
    return found


@dataclass(frozen=True)
class Setting:
    """
    A setting.

    :ivar name: its name in Python and in TOML.
    :ivar default: its value where no source has one.
    :ivar about: what the model says of it.
    """

    name: str
    default: object
    about: About

    @property
    def flag(self) -> str:
        """Its name on the command line, without the dashes in front."""
        return self.name.replace("_", "-")

    @property
    def synopsis(self) -> str:
        """Its flag as it is written on the command line, value and all."""
        return f"--{self.flag} {self.about.kind.metavar}".rstrip()

    @property
    def variable(self) -> str:
        """Its name in the environment."""
        return PREFIX + self.name.upper()

    @property
    def variables(self) -> tuple[Alias, ...]:
        """Every variable that it is read from, the strongest first."""
        return (Alias(self.variable), *self.about.aliases)

    @property
    def default_text(self) -> str:
        """Its default in words."""
        return self.about.unset or self.show(self.default)

    def show(self, value: object) -> str:
        """Write one of its values, in one line, for people to read."""
        return f"({self.about.unset})" if value is None else self.about.kind.show(value)
