"""The operators' changes at run time that a new master inherits in an upgrade."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self


@dataclass(frozen=True, kw_only=True)
class OperatorChanges:
    """
    Changes made while the old master ran, and the settings of that time.

    A change holds as long as the setting that it overrides is unchanged: a setting that
    was edited later takes precedence.

    :param generation: the number of the new master's generation.
    :param workers: the number of slots; None if the settings determine it.
    :param empty: the slots that were drained, and are to stay empty.
    :param policies: the distribution policies that differ from the settings, by the
        specification of the listener.
    :param sticky: what identifies clients for session affinity, if it differs from the
        settings.
    :param settings: the old master's settings by name, in types of JSON.
    """

    generation: int = 1
    workers: int | None = None
    empty: tuple[int, ...] = ()
    policies: Mapping[str, str] = field(default_factory=dict)
    sticky: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def as_mapping(self) -> dict[str, Any]:
        """Return the fields in types of JSON."""
        return asdict(self)

    @classmethod
    def from_mapping(cls, found: Mapping[str, Any]) -> Self:
        """Return the object for a mapping from `as_mapping`; ignore unknown fields."""
        known = {
            name: found[name] for name in cls.__dataclass_fields__ if name in found
        }
        return cls(**{**known, "empty": tuple(found.get("empty", ()))})

    def holds(self, name: str, value: object) -> bool:
        """
        Return whether a change at run time still overrides a setting.

        :param name: the setting's name.
        :param value: its value now.
        """
        return name in self.settings and self.settings[name] == value
