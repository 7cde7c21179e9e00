"""What a worker answers in the master's words, before the application is asked."""

from dataclasses import replace

from clusterapp.settings.model import Settings
from clusterapp.web.broken_code_page import BrokenCode
from clusterapp.web.health_path import PublicHealth
from clusterapp.web.loading import Loaded


class Front:
    """
    What the master says of cluster and code, as far as clients are to see it.

    It may be told before there is an application. Where the settings ask for
    nothing of it, no request passes through it.

    :param settings: the settings.
    :param on_trial: whether the master still tries this worker.
    """

    def __init__(self, settings: Settings, *, on_trial: bool) -> None:
        path = settings.health_path
        self._health = PublicHealth(path, on_trial=on_trial) if path else None
        self._code = BrokenCode() if settings.reload else None

    def cluster_health(self, *, ready: bool, detail: str) -> None:
        """Hear whether clients should be sent to this cluster, and why, as JSON."""
        if self._health is not None:
            self._health.heard(ready=ready, detail=detail)

    def broken(self, why: str) -> None:
        """Hear what is wrong with the code, or that nothing is any more."""
        if self._code is not None:
            self._code.heard(why)

    def trial_is_over(self) -> None:
        """Know that clients come from now on, and not the master alone."""
        if self._health is not None:
            self._health.trial_is_over()

    def before(self, loaded: Loaded) -> Loaded:
        """Stand before an application: give it with its answers, and with these."""
        answer = loaded.answer
        if self._code is not None:
            answer = self._code.before(answer)
        if self._health is not None:
            routed = loaded.routes.owns(self._health.path)
            answer = self._health.before(answer, routed=routed)
        return replace(loaded, answer=answer)
