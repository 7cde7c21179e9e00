"""The settings of supervision: how workers are watched, and when they are replaced."""

from dataclasses import dataclass, field

from clusterapp.settings.counts import ControlPlace, Count, UrlPath
from clusterapp.settings.kinds import FilePath, Seconds, Switch
from clusterapp.settings.sending import Size
from clusterapp.settings.table import about

_A_MEBIBYTE = 1024**2


@dataclass(frozen=True, kw_only=True)
class Supervising:
    """The part of `Settings` that says how workers are watched and replaced."""

    boot_timeout: float = field(
        default=60.0,
        metadata=about(
            kind=Seconds(),
            help="How long a worker may take from its start until it is ready; then "
            "it is killed.",
            example=120,
        ),
    )
    hang_timeout: float = field(
        default=30.0,
        metadata=about(
            kind=Seconds(),
            help="How long a worker's event loop may stand still; then its stacks "
            "are logged, and it is replaced.",
            example=10,
        ),
    )
    request_timeout: float | None = field(
        default=None,
        metadata=about(
            kind=Seconds(),
            help="How long an application may take to begin its response; then the "
            "client gets 503 and the handler is cancelled.",
            example=20,
            unset="no limit",
        ),
    )
    graceful_timeout: float = field(
        default=30.0,
        metadata=about(
            kind=Seconds(or_zero=True),
            help="How long workers that stop may take to finish the requests they "
            "have; then they are killed.",
            example=10,
        ),
    )
    drain_spread: float = field(
        default=5.0,
        metadata=about(
            kind=Seconds(or_zero=True),
            help="The seconds over which a worker that stops closes its WebSockets and "
            "event streams, so that clients do not all come back at once.",
            example=20,
        ),
    )
    drain_delay: float = field(
        default=0.0,
        metadata=about(
            kind=Seconds(or_zero=True),
            help="How long a cluster that is told to stop says that it is not ready, "
            "and goes on serving, before it stops: for balancers.",
            example=10,
        ),
    )
    max_requests: int | None = field(
        default=None,
        metadata=about(
            kind=Count(),
            help="Replace a worker after so many requests, a tenth more or less.",
            example=100_000,
            unset="no limit",
        ),
    )
    max_lifetime: float | None = field(
        default=None,
        metadata=about(
            kind=Seconds(),
            help="Replace a worker after so many seconds, a tenth more or less.",
            example=86_400,
            unset="no limit",
        ),
    )
    max_rss: int | None = field(
        default=None,
        metadata=about(
            kind=Size(least=_A_MEBIBYTE),
            help="Replace a worker that has more memory resident.",
            example="512 MiB",
            unset="no limit",
        ),
    )
    reload_batch: int = field(
        default=1,
        metadata=about(
            kind=Count(),
            help="How many workers a reload replaces at a time, after the first.",
            example=4,
        ),
    )
    health_path: str | None = field(
        default=None,
        metadata=about(
            kind=UrlPath(),
            help="Path on the public port that answers 503 while the cluster is not "
            "ready, else as the application's route there does, or 200.",
            example="/healthz",
            unset="none",
        ),
    )
    min_ready: int = field(
        default=1,
        metadata=about(
            kind=Count(),
            help="With fewer workers ready, the cluster says that it is not ready.",
            example=2,
        ),
    )
    require_core: bool = field(
        default=False,
        metadata=about(
            kind=Switch(),
            help="While the core is not ready, the cluster says that it is not "
            "ready, either.",
            example=True,
        ),
    )
    working_folder: str | None = field(
        default=None,
        metadata=about(
            kind=FilePath(),
            help="Where workers look for modules and files; if it is a symbolic link, "
            "a reload follows it anew.",
            example="/srv/shop/current",
            unset="where the master was started",
        ),
    )
    control: str | None = field(
        default=None,
        metadata=about(
            kind=ControlPlace(),
            help="The Unix socket that clusterctl talks to, or off.",
            example="/run/shop.ctl",
            unset="control.sock in a folder of the cluster's own, in --state",
        ),
    )
