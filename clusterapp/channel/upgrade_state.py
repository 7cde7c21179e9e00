"""What a new master keeps of what operators have set in the old one."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self


@dataclass(frozen=True, kw_only=True)
class Kept:
    """
    What was set while the old master ran, and what the settings said then.

    What an operator has set holds for as long as the setting that it overrides is
    as it was: whoever changes a setting means that.

    :param generation: the number of the new master's generation.
    :param workers: how many slots there are; None if the settings say so.
    :param empty: the slots that were drained, and are to stay empty.
    :param policies: how connections are distributed, by the specifications of
        listeners, where that is not what the settings say.
    :param sticky: what clients are known by, if the settings do not say so.
    :param settings: the old master's settings, as JSON holds them, by their names.
    """

    generation: int = 1
    workers: int | None = None
    empty: tuple[int, ...] = ()
    policies: Mapping[str, str] = field(default_factory=dict)
    sticky: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def as_mapping(self) -> dict[str, Any]:
        """Give it in types that JSON has."""
        return asdict(self)

    @classmethod
    def from_mapping(cls, found: Mapping[str, Any]) -> Self:
        """Make it of what `as_mapping` has given; another version may know more."""
        known = {
            name: found[name] for name in cls.__dataclass_fields__ if name in found
        }
        return cls(**{**known, "empty": tuple(found.get("empty", ()))})

    def holds(self, name: str, value: object) -> bool:
        """
        Tell whether what an operator has set in the place of a setting still holds.

        :param name: the setting's name.
        :param value: its value now.
        """
        return name in self.settings and self.settings[name] == value
