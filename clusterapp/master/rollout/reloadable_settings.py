"""The settings that a reload can change, and those that it cannot."""

from dataclasses import replace

from clusterapp.settings.model import OPTIONS
from clusterapp.settings.resolution import ResolvedSettings

#: Settings that only an upgrade can change, since the master itself depends on them.
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
    """Return the new settings, with the old values of those that are fixed."""
    fixed = {name: getattr(before.settings, name) for name in _FIXED}
    origins = {name: before.origins[name] for name in _FIXED}
    return ResolvedSettings(
        replace(after.settings, **fixed), {**after.origins, **origins}
    )


def not_applied(before: ResolvedSettings, after: ResolvedSettings) -> str:
    """Return the fixed settings with new values, which need an upgrade; or nothing."""
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
