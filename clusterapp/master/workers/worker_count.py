"""How many workers a cluster has at first."""

from twisted.logger import Logger

from clusterapp.settings.model import Settings
from clusterapp.settings.validation import InvalidSettingsError
from clusterapp.spawning.cpus import usable_cpus
from clusterapp.wording import counted

#: So many workers for each CPU are of use, at the very most: more are a slip.
MOST_PER_CPU = 32

_log = Logger()


def most_workers() -> int:
    """Return how many workers are started unless somebody insists."""
    return MOST_PER_CPU * usable_cpus().count


def check_size(settings: Settings) -> None:
    """
    See that not too many workers are to be started.

    :raise SettingsError: if there are more than `most_workers`.
    """
    wanted, most = settings.workers, most_workers()
    if wanted != "auto" and int(wanted) > most:
        raise InvalidSettingsError(
            {"workers": wanted},
            f"must be at most {most} here, {MOST_PER_CPU} for each CPU"
            " (clusterctl scale --force starts more)",
        )


def first_size(settings: Settings) -> int:
    """Tell how many workers are to be started."""
    wanted = settings.workers
    return usable_cpus().count if wanted == "auto" else int(wanted)


def too_few_to_be_ready(settings: Settings) -> str:
    """Return a warning if more workers must be ready than are started, else nothing."""
    size, wanted = first_size(settings), settings.min_ready
    if wanted <= size:
        return ""
    return (
        f"warning: --min-ready {wanted} is more than the {counted(size, 'worker')} that"
        " are started: the cluster is not ready until it is scaled up\n"
    )


def tell_size(settings: Settings, scaled_to: int | None = None) -> int:
    """
    Say in the log how many workers are started, and why so many.

    :param scaled_to: how many an operator has asked for, in the place of the settings.
    :return: how many they are.
    """
    wanted, cpus = scaled_to or settings.workers, usable_cpus()
    if wanted == "auto":
        _log.info(
            "starting {workers}: {why}",
            workers=counted(cpus.count, "worker"),
            why=cpus.reason,
        )
        return cpus.count
    why = ", as an operator has scaled the cluster" if scaled_to else ""
    _log.info("starting {workers}{why}", workers=counted(wanted, "worker"), why=why)
    if wanted > cpus.count:
        _log.warn("{size} workers share {why}", size=wanted, why=cpus.reason)
    return wanted
