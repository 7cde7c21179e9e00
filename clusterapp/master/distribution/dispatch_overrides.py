"""What operators have set about distribution, in the place of the settings."""

from collections.abc import Iterable

from clusterapp.channel.upgrade_state import Kept
from clusterapp.settings.listen import ListenSpec
from clusterapp.settings.model import Settings


class Overrides:
    """
    Policies and the sticky key that were set while masters ran.

    Each holds for as long as the setting that it overrides is as it was.

    :param kept: what operators have set in the master before this one.
    :param settings: this master's settings.
    :ivar policies: how connections are distributed, by the listener's specification.
    :ivar sticky: what clients are known by; None if the settings say so.
    """

    def __init__(self, kept: Kept, settings: Settings) -> None:
        same = kept.holds("dispatch", settings.dispatch)
        self.policies = dict(kept.policies) if same else {}
        same = kept.holds("sticky", settings.sticky)
        self.sticky = kept.sticky if same else None

    def policy(self, spec: ListenSpec, settings: Settings) -> str:
        """Return the policy of a listener."""
        said = spec.dispatch or settings.dispatch
        return self.policies.get(str(spec), said)

    def set(self, specs: Iterable[ListenSpec], policy: str, key: str | None) -> None:
        """
        Note what an operator has set.

        :param key: what clients are known by from now on; None if as before.
        """
        self.policies |= {str(spec): policy for spec in specs}
        self.sticky = key or self.sticky

    def settings_changed(self, before: Settings, after: Settings) -> None:
        """Forget what was set in the place of settings that a reload has changed."""
        if before.dispatch != after.dispatch:
            self.policies.clear()
        if before.sticky != after.sticky:
            self.sticky = None
