"""The initial number of workers, and its bounds."""

from twisted.logger import Logger

from clusterapp.settings.model import Settings
from clusterapp.settings.validation import InvalidSettingsError
from clusterapp.spawning.cpus import usable_cpus
from clusterapp.wording import counted

#: The most workers that are of use for each CPU: a larger number is a mistake.
MOST_PER_CPU = 32

_log = Logger()


def most_workers() -> int:
    """Return the maximum number of workers, unless an operator forces more."""
    return MOST_PER_CPU * usable_cpus().count


def check_size(settings: Settings) -> None:
    """
    Check that the settings do not ask for too many workers.

    :raise SettingsError: if they ask for more than `most_workers`.
    """
    wanted, most = settings.workers, most_workers()
    if wanted != "auto" and int(wanted) > most:
        raise InvalidSettingsError(
            {"workers": wanted},
            f"must be at most {most} here, {MOST_PER_CPU} for each CPU"
            " (clusterctl scale --force starts more)",
        )


def first_size(settings: Settings) -> int:
    """Return the number of workers to start."""
    wanted = settings.workers
    return usable_cpus().count if wanted == "auto" else int(wanted)


def too_few_to_be_ready(settings: Settings) -> str:
    """Return a warning if more workers must be ready than are started, or nothing."""
    size, wanted = first_size(settings), settings.min_ready
    if wanted <= size:
        return ""
    return (
        f"warning: --min-ready {wanted} is more than the {counted(size, 'worker')} that"
        " are started: the cluster is not ready until it is scaled up\n"
    )


def tell_size(settings: Settings, scaled_to: int | None = None) -> int:
    """
    Log how many workers are started, and why.

    :param scaled_to: the number set by an operator, which overrides the settings.
    :return: the number of workers.
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
