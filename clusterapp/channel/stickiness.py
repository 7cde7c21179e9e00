"""Session affinity, as the master sends it to its workers."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final


@dataclass(frozen=True)
class Stickiness:
    """
    The configuration of session affinity.

    :param listeners: the names of the listeners with session affinity.
    :param key: what identifies a client, as in `--sticky`.
    :param slots: the slots to which clients can be assigned, in their order.
    :param secret: the key with which cookies are signed, as hexadecimal digits.
    """

    listeners: tuple[str, ...]
    key: str
    slots: tuple[int, ...]
    secret: str

    def as_mapping(self) -> Mapping[str, Any]:
        """Return the fields in types of JSON."""
        return asdict(self)

    @classmethod
    def from_mapping(cls, found: Mapping[str, Any]) -> "Stickiness":
        """Return the object for a mapping from `as_mapping`."""
        return cls(
            tuple(found["listeners"]),
            found["key"],
            tuple(found["slots"]),
            found["secret"],
        )

    def to_json(self) -> str:
        """Serialize as JSON."""
        return json.dumps(self.as_mapping())

    @classmethod
    def from_json(cls, text: str) -> "Stickiness":
        """Parse the JSON from `to_json`."""
        return cls.from_mapping(json.loads(text))


#: No session affinity: each worker serves the requests that it gets.
NO_AFFINITY: Final = Stickiness((), "client-ip", (), "")
