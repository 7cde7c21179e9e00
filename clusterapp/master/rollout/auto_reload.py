"""Automatic reloads when code changes, for development (``--reload``)."""

from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.logger import Logger

from clusterapp.errors import OperationError
from clusterapp.master.rollout.code_watcher import CodeWatch, folders_of_code
from clusterapp.master.service import ClusterService
from clusterapp.operations import OperationResult


class Developing(Service):
    """
    Reloads a cluster when its code has changed, and shows errors of a reload.

    :param reactor: the master's reactor.
    :param cluster: the cluster.
    """

    _log = Logger()

    def __init__(self, reactor: Any, cluster: ClusterService) -> None:
        self._reactor = reactor
        self._cluster = cluster
        self._reloading = False
        self._changed_meanwhile = False
        self._watch: CodeWatch | None = None

    def startService(self) -> None:
        """Start watching the code in the present working folder."""
        super().startService()
        settings = self._cluster.settings
        folder = Path(self._cluster.launch_context.folder(settings))
        folders = folders_of_code(folder, settings.app, settings.core_app)
        self._watch = CodeWatch(self._reactor, folders, self.changed)
        self._watch.startService()

    def stopService(self) -> None:
        """Stop watching."""
        super().stopService()
        if self._watch is not None:
            self._watch.stopService()

    def changed(self, paths: frozenset[Path]) -> None:
        """Called when files have changed."""
        self._log.info(
            "{files} changed", files=", ".join(sorted(path.name for path in paths))
        )
        self._reload()

    def _reload(self) -> None:
        if self._reloading:
            # The reload under way may have read the files before this change.
            self._changed_meanwhile = True
            return
        try:
            judged = self._cluster.operations.reload(lambda _: None)
        except OperationError as error:
            self._log.warn("not reloaded: {error}", error=error)
            return
        self._reloading = True
        judged.addCallback(self._judged)

    def _judged(self, verdict: OperationResult) -> None:
        self._reloading = False
        again, self._changed_meanwhile = self._changed_meanwhile, False
        if not self.running:
            return
        why = "" if verdict.ok else verdict.traceback or verdict.text
        self._cluster.deployment.pool.broken(why)
        if again:
            self._reload()
