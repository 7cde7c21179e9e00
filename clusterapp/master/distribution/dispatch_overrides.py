"""Operators' changes of the dispatch, which override the settings."""

from collections.abc import Iterable

from clusterapp.channel.upgrade_state import OperatorChanges
from clusterapp.settings.listen import ListenSpec
from clusterapp.settings.model import Settings


class Overrides:
    """
    Dispatch policies and the affinity key that operators have set at run time.

    Each is in force as long as the setting that it overrides has not changed.

    :param operator_changes: what operators have set in the older master.
    :param settings: this master's settings.
    :ivar policies: the policies that were set, by listener specification.
    :ivar sticky: the affinity key that was set; None if the settings decide.
    """

    def __init__(self, operator_changes: OperatorChanges, settings: Settings) -> None:
        same = operator_changes.holds("dispatch", settings.dispatch)
        self.policies = dict(operator_changes.policies) if same else {}
        same = operator_changes.holds("sticky", settings.sticky)
        self.sticky = operator_changes.sticky if same else None

    def policy(self, spec: ListenSpec, settings: Settings) -> str:
        """Return the policy of a listener, as overridden or as in the settings."""
        configured = spec.dispatch or settings.dispatch
        return self.policies.get(str(spec), configured)

    def set(self, specs: Iterable[ListenSpec], policy: str, key: str | None) -> None:
        """
        Store what an operator has set.

        :param key: the new affinity key; None to keep the present one.
        """
        self.policies |= {str(spec): policy for spec in specs}
        self.sticky = key or self.sticky

    def settings_changed(self, before: Settings, after: Settings) -> None:
        """Drop overrides of settings that a reload has changed."""
        if before.dispatch != after.dispatch:
            self.policies.clear()
        if before.sticky != after.sticky:
            self.sticky = None
