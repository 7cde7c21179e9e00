"""Whose requests belong to which worker, as the master tells its workers."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Stickiness:
    """
    How clients stay with their workers.

    :param doors: the names of the listeners where they do.
    :param key: what a client is known by, as `--sticky` has it.
    :param slots: the slots that clients can belong to, in their order.
    :param secret: what cookies are signed with, as hexadecimal digits.
    """

    doors: tuple[str, ...]
    key: str
    slots: tuple[int, ...]
    secret: str

    def as_mapping(self) -> Mapping[str, Any]:
        """Give it in types that JSON has."""
        return asdict(self)

    @classmethod
    def from_mapping(cls, found: Mapping[str, Any]) -> "Stickiness":
        """Read it back."""
        return cls(
            tuple(found["doors"]), found["key"], tuple(found["slots"]), found["secret"]
        )

    def to_json(self) -> str:
        """Write it."""
        return json.dumps(self.as_mapping())

    @classmethod
    def from_json(cls, text: str) -> "Stickiness":
        """Read it back."""
        return cls.from_mapping(json.loads(text))
