"""How many workers a cluster has at first."""

from twisted.logger import Logger

from clusterapp.settings.model import Settings
from clusterapp.spawning.cpus import usable_cpus

_log = Logger()


def first_size(settings: Settings) -> int:
    """Tell how many workers are to be started."""
    wanted = settings.workers
    return usable_cpus().count if wanted == "auto" else int(wanted)


def tell_size(settings: Settings) -> None:
    """Say in the log how many workers are started, and why so many."""
    wanted, cpus = settings.workers, usable_cpus()
    if wanted == "auto":
        _log.info("starting {size} workers: {why}", size=cpus.count, why=cpus.reason)
        return
    _log.info("starting {size} workers", size=wanted)
    if wanted > cpus.count:
        _log.warn("{size} workers share {why}", size=wanted, why=cpus.reason)
