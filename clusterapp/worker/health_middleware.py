"""The middleware that answers health checks and shows broken code (in a worker)."""

from dataclasses import replace

from clusterapp.settings.model import Settings
from clusterapp.web.loading import LoadedApplication
from clusterapp.web.pages.broken_code_page import BrokenCode
from clusterapp.web.pages.health_path import PublicHealth


class HealthMiddleware:
    """
    The answers that depend on what the master reports about cluster and code.

    Its state can be set before the application is loaded. If neither a health path nor
    reloading is configured, no request passes through it.

    :param settings: the settings.
    :param as_canary: whether this worker is a canary that has not passed its check yet.
    """

    def __init__(self, settings: Settings, *, as_canary: bool) -> None:
        path = settings.health_path
        self._health = PublicHealth(path, as_canary=as_canary) if path else None
        self._code = BrokenCode() if settings.reload else None

    def cluster_health(self, *, ready: bool, detail: str) -> None:
        """
        Called when the readiness of the cluster changes.

        :param ready: whether load balancers should send clients to this cluster.
        :param detail: the reason, as JSON.
        """
        if self._health is not None:
            self._health.set_readiness(ready=ready, detail=detail)

    def broken(self, why: str) -> None:
        """
        Called when the newest code fails to load, or loads again.

        :param why: the error; empty when the code loads again.
        """
        if self._code is not None:
            self._code.set_error(why)

    def canary_passed(self) -> None:
        """Called when the canary check has passed: clients' requests follow."""
        if self._health is not None:
            self._health.canary_passed()

    def before(self, loaded: LoadedApplication) -> LoadedApplication:
        """
        Return the application with these answers put before its own.

        :param loaded: the loaded application.
        """
        answer = loaded.answer
        if self._code is not None:
            answer = self._code.before(answer)
        if self._health is not None:
            routed = loaded.routes.owns(self._health.path)
            answer = self._health.before(answer, routed=routed)
        return replace(loaded, answer=answer)
