"""Which settings a reload can change."""

from dataclasses import replace

from clusterapp.settings.model import OPTIONS
from clusterapp.settings.resolution import ResolvedSettings

#: Settings that a reload cannot change, since they are the master's own.
_FIXED = frozenset(
    {
        *("listen", "core", "core_app", "core_listen", "core_ca", "core_cert"),
        *("core_key", "state", "control", "reload", "worker_ports"),
        "agent_check",
    }
)


def as_far_as_can_be(
    before: ResolvedSettings, after: ResolvedSettings
) -> ResolvedSettings:
    """Let a reload change what it can, and leave the rest as the master has it."""
    kept = {name: getattr(before.settings, name) for name in _FIXED}
    origins = {name: before.origins[name] for name in _FIXED}
    return ResolvedSettings(
        replace(after.settings, **kept), {**after.origins, **origins}
    )


def not_applied(before: ResolvedSettings, after: ResolvedSettings) -> str:
    """Name the settings that have other values, which only an upgrade brings."""
    changed = [
        option.flag
        for option in OPTIONS
        if option.name in _FIXED
        and getattr(before.settings, option.name)
        != getattr(after.settings, option.name)
    ]
    if not changed:
        return ""
    return f"; not applied before an upgrade: {', '.join(changed)}"
