"""Which settings a reload can change."""

from dataclasses import replace

from clusterapp.settings.model import SETTINGS
from clusterapp.settings.sources import Chosen

#: Settings that a reload cannot change, since they are the master's own.
_FIXED = frozenset(
    {
        *("listen", "core", "core_app", "core_listen", "core_ca", "core_cert"),
        *("core_key", "state", "control", "reload", "worker_ports"),
        "agent_check",
    }
)


def as_far_as_can_be(before: Chosen, after: Chosen) -> Chosen:
    """Let a reload change what it can, and leave the rest as the master has it."""
    kept = {name: getattr(before.settings, name) for name in _FIXED}
    origins = {name: before.origins[name] for name in _FIXED}
    return Chosen(replace(after.settings, **kept), {**after.origins, **origins})


def not_applied(before: Chosen, after: Chosen) -> str:
    """Name the settings that have other values, which only an upgrade brings."""
    changed = [
        f"--{setting.flag}"
        for setting in SETTINGS
        if setting.name in _FIXED
        and getattr(before.settings, setting.name)
        != getattr(after.settings, setting.name)
    ]
    if not changed:
        return ""
    return f"; not applied before an upgrade: {', '.join(changed)}"
