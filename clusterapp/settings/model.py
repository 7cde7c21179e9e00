"""
Everything that an operator can choose, in one table.

The fields of `Settings` are the table: flags, TOML keys, environment variables
and documentation are all made from them. `clusterapp.settings.sources` says where
values come from.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from clusterapp.settings.counts import Count
from clusterapp.settings.distributing import Distributing
from clusterapp.settings.kinds import (
    Choice,
    CorePlace,
    FilePath,
    Listeners,
    LogPath,
    ObjectName,
    Proxies,
    Seconds,
    Switch,
    WorkerCount,
)
from clusterapp.settings.listen import ListenSpec, TlsListen, parse, parse_core
from clusterapp.settings.problems import WrongSettingsError, WrongValueError
from clusterapp.settings.sending import SendfileHeader, Size
from clusterapp.settings.supervising import Supervising
from clusterapp.settings.table import Alias, Setting, about, about_of

_A_YEAR = 365 * 24 * 3600
_LOCAL_ONLY = ("core_listen", "require_core")
_REMOTE_ONLY = ("core_ca", "core_cert", "core_key")


@dataclass(frozen=True, kw_only=True)
class Settings(Supervising, Distributing):
    """
    Everything that an operator can choose; checked when it is made.

    Where a field is a sequence, a single text will do, too. The result of
    `as_mapping`, sent as JSON, makes equal settings again.

    :raise SettingsError: a value is wrong, or two do not go together.
    """

    app: str | None = field(
        default=None,
        metadata=about(
            kind=ObjectName(),
            help="What to serve: an Application, a Klein, an IResource, a WSGI "
            "callable, or a factory of one of these.",
            example="shop:app",
            unset="the demo site",
        ),
    )
    core_app: str | None = field(
        default=None,
        metadata=about(
            kind=ObjectName(),
            help="The Klein of the core modules, for an --app that is no Application "
            "with a core of its own.",
            example="shop:core",
            unset="the core of --app",
        ),
    )
    workers: int | Literal["auto"] = field(
        default="auto",
        metadata=about(
            kind=WorkerCount(),
            help="How many workers to run; auto means one for each CPU that this "
            "process may use, by its affinity and its cgroup's quota.",
            example=4,
            aliases=(Alias("WORKER_NUM"), Alias("WEB_CONCURRENCY")),
        ),
    )
    listen: Sequence[str] = field(
        default=("tcp:8080:interface=127.0.0.1",),
        metadata=about(
            kind=Listeners(parse),
            help="Where the workers listen: tcp:, tls:, unix:, fd: or systemd:. "
            "May be given more than once.",
            example=("tcp:8080", "unix:/run/shop.sock:mode=660"),
            aliases=(Alias("PORT", "tcp:{}"),),
        ),
    )
    core: str = field(
        default="master",
        metadata=about(
            kind=CorePlace(),
            help="Where the core runs: master (in the master), isolated (in a child "
            "of its own), or https://HOST[:PORT] (on another machine).",
            example="isolated",
        ),
    )
    core_listen: Sequence[str] = field(
        default=(),
        metadata=about(
            kind=Listeners(parse_core, or_none=True),
            help="Where this master's core listens for workers on other machines: "
            "tls: with a ca. May be given more than once.",
            example=("tls:8443:certificate=core.pem:key=core.key:ca=workers.pem",),
            unset="none",
        ),
    )
    core_ca: str | None = field(
        default=None,
        metadata=about(
            kind=FilePath(),
            help="PEM file with the authorities that sign the certificate of a core "
            "on another machine.",
            example="ca.pem",
            unset="those that the system trusts",
        ),
    )
    core_cert: str | None = field(
        default=None,
        metadata=about(
            kind=FilePath(),
            help="PEM file with the certificate that workers show to a core on "
            "another machine.",
            example="worker.pem",
            unset="none",
        ),
    )
    core_key: str | None = field(
        default=None,
        metadata=about(
            kind=FilePath(),
            help="PEM file with the private key of --core-cert.",
            example="worker.key",
            unset="none",
        ),
    )
    core_timeout: float = field(
        default=60.0,
        metadata=about(
            kind=Seconds(),
            help="How long a worker waits for the core to answer a request before "
            "the client gets 504.",
            example=20,
        ),
    )
    header_timeout: float = field(
        default=30.0,
        metadata=about(
            kind=Seconds(),
            help="How long a client may take to send the head of a request, from its "
            "first byte; then it gets 408.",
            example=10,
        ),
    )
    keepalive_timeout: float = field(
        default=65.0,
        metadata=about(
            kind=Seconds(),
            help="How long a client's connection may stay open without a request.",
            example=75,
        ),
    )
    max_body: int = field(
        default=16 * 1024**2,
        metadata=about(
            kind=Size(least=1),
            help="The largest request body; larger ones get 413.",
            example="64 MiB",
        ),
    )
    websocket_max_size: int = field(
        default=16 * 1024**2,
        metadata=about(
            kind=Size(least=1),
            help="The largest message that a client may send on a WebSocket; at a "
            "larger one the connection is closed with 1009.",
            example="1 MiB",
        ),
    )
    max_form_fields: int = field(
        default=1000,
        metadata=about(
            kind=Count(),
            help="The most fields of a form, or parts of a multipart one, in "
            "request.args; with more the client gets 413.",
            example=5000,
        ),
    )
    max_form_size: int = field(
        default=1024**2,
        metadata=about(
            kind=Size(least=1),
            help="The largest form in request.args, without the files of a multipart "
            "one; with a larger one the client gets 413.",
            example="4 MiB",
        ),
    )
    static_cache: int = field(
        default=32 * 1024**2,
        metadata=about(
            kind=Size(),
            help="How much memory each worker may use to keep static files ready.",
            example="128 MiB",
        ),
    )
    static_max_age: float = field(
        default=0.0,
        metadata=about(
            kind=Seconds(or_zero=True, most=_A_YEAR),
            help="How long clients may use a static file without asking for it "
            "again; names with a fingerprint are for ever.",
            example=3600,
        ),
    )
    sendfile_header: str | None = field(
        default=None,
        metadata=about(
            kind=SendfileHeader(),
            help="The field that tells a server in front to send a static file; "
            "PREFIX is the internal location of the folder.",
            example="X-Accel-Redirect=/internal/static/",
            unset="none, workers send it",
        ),
    )
    trusted_proxies: Sequence[str] = field(
        default=("127.0.0.1", "::1", "unix"),
        metadata=about(
            kind=Proxies(),
            help="Whose word about the client is taken: addresses, networks, unix, "
            "or * (anyone), with commas between.",
            example=("10.0.0.0/8", "unix"),
            aliases=(Alias("FORWARDED_ALLOW_IPS"),),
        ),
    )
    access_log: str | None = field(
        default=None,
        metadata=about(
            kind=LogPath(),
            help="File to which workers append a line for each request that they have "
            "answered; - is the master's stdout.",
            example="/var/log/shop/access.log",
            unset="no access log",
        ),
    )
    access_log_format: str = field(
        default="combined",
        metadata=about(
            kind=Choice(("combined", "json")),
            help="How the lines of the access log are written: combined, as other "
            "web servers do it, or json, an object a line.",
            example="json",
        ),
    )
    state: str | None = field(
        default=None,
        metadata=about(
            kind=FilePath(),
            help="Folder for what the master keeps while it runs, such as the "
            "core's socket.",
            example="/var/lib/shop",
            unset="a folder in $XDG_RUNTIME_DIR, /run or /tmp",
        ),
    )
    reload: bool = field(
        default=False,
        metadata=about(
            kind=Switch(),
            help="For development: workers are reloaded when code changes, templates "
            "are read anew, and errors are shown in the page.",
            example=True,
        ),
    )

    def __post_init__(self) -> None:
        for setting in SETTINGS:
            value = getattr(self, setting.name)
            # A frozen dataclass lets its own initialisation do this, no one else.
            object.__setattr__(self, setting.name, _checked(setting, value))
        _check_core(self)

    @property
    def listeners(self) -> tuple[ListenSpec, ...]:
        """Where the workers listen."""
        return tuple(map(parse, self.listen))

    @property
    def core_listeners(self) -> tuple[TlsListen, ...]:
        """Where the core listens for other machines."""
        return tuple(map(parse_core, self.core_listen))

    @property
    def core_is_remote(self) -> bool:
        """Whether the core runs on another machine."""
        return self.core.startswith("https://")

    def as_mapping(self) -> dict[str, Any]:
        """Give every value by its name, in types that JSON has."""
        return {setting.name: getattr(self, setting.name) for setting in SETTINGS}


#: Every setting there is, in the order of the documentation.
SETTINGS = tuple(
    Setting(row.name, row.default, about_of(row))
    for row in sorted(
        fields(Settings),
        key=lambda row: (row in fields(Supervising), row in fields(Distributing)),
    )
)


def _checked(setting: Setting, value: object) -> object:
    """Judge one value; only a setting that has none by default may have none."""
    if value is None and setting.default is None:
        return None
    try:
        return setting.about.kind.check(value)
    except WrongValueError as error:
        raise WrongSettingsError({setting.name: error.value}, error.reason) from error


def _check_core(settings: Settings) -> None:
    """Judge what only makes sense with, or without, a core on another machine."""
    if not settings.core_is_remote:
        _refuse_with_core(settings, _REMOTE_ONLY, "only for a core at https://HOST")
        return
    _refuse_with_core(settings, _LOCAL_ONLY, "only for a core on this machine")
    if (settings.core_cert is None) != (settings.core_key is None):
        raise WrongSettingsError(
            {"core_cert": settings.core_cert, "core_key": settings.core_key},
            "must be set together",
        )


def _refuse_with_core(settings: Settings, names: tuple[str, ...], reason: str) -> None:
    """Refuse settings that mean nothing with the core where it is."""
    for name in names:
        value = getattr(settings, name)
        if value:
            raise WrongSettingsError(
                {name: value, "core": settings.core}, f"{name} is {reason}"
            )
