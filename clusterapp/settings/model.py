"""
Every setting, declared once: its name, type, default, description and constraints.

Flags, environment variables, TOML keys and ``docs/settings.md`` follow from the
fields of `Settings`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from clusterapp.settings.listen import ListenSpec, TlsListen, parse, parse_core
from clusterapp.settings.option import Option
from clusterapp.settings.option_types import (
    AGENT_LISTENER,
    CONTROL_PATH,
    CORE_LOCATION,
    COUNT,
    DISPATCH,
    LOG_PATH,
    OBJECT_NAME,
    PATH,
    PORT,
    SECONDS,
    SENDFILE_HEADER,
    STICKY_KEY,
    SWITCH,
    TRUSTED_PROXIES,
    URL_PATH,
    WORKER_COUNT,
    choice,
    endpoints,
    seconds,
    size,
)
from clusterapp.settings.validation import InvalidSettingsError, InvalidValueError

_YEAR = 365 * 24 * 3600
_LOCAL_CORE_ONLY = ("core_listen", "require_core")
_REMOTE_CORE_ONLY = ("core_ca", "core_cert", "core_key")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """
    The settings of a cluster, validated when they are made.

    Where a field is a sequence, a single text will do, too. The result of
    `as_mapping`, sent as JSON, makes equal settings again.

    :raise SettingsError: a value is invalid, or two contradict each other.
    """

    app: str | None = Option(
        OBJECT_NAME, None, "shop:app", unset="the demo site"
    ).help("""
        What to serve: an Application, a Klein, an IResource, a WSGI callable, or a
        factory of one of these.""")
    core_app: str | None = Option(
        OBJECT_NAME, None, "shop:core", unset="the core of --app"
    ).help("""
        The Klein of the core modules, for an --app that is no Application with a core
        of its own.""")
    workers: int | Literal["auto"] = Option(
        WORKER_COUNT, "auto", 4, aliases={"WORKER_NUM": "{}", "WEB_CONCURRENCY": "{}"}
    ).help("""
        How many workers to run; auto means one for each CPU that this process may use,
        by its affinity and its cgroup's quota.""")
    listen: Sequence[str] = Option(
        endpoints(parse),
        ("tcp:8080:interface=127.0.0.1",),
        ("tcp:8080", "unix:/run/shop.sock:mode=660"),
        aliases={"PORT": "tcp:{}"},
    ).help("""
        Where the workers listen: tcp:, tls:, unix:, fd: or systemd:. May be given more
        than once.""")
    core: str = Option(CORE_LOCATION, "master", "isolated").help("""
        Where the core runs: master (in the master), isolated (in a child of its own),
        or https://HOST[:PORT] (on another machine).""")
    core_listen: Sequence[str] = Option(
        endpoints(parse_core, or_none=True),
        (),
        ("tls:8443:certificate=core.pem:key=core.key:ca=workers.pem",),
    ).help("""
        Where this master's core listens for workers on other machines: tls: with a ca.
        May be given more than once.""")
    core_ca: str | None = Option(
        PATH, None, "ca.pem", unset="those that the system trusts"
    ).help("""
        PEM file with the authorities that sign the certificate of a core on another
        machine.""")
    core_cert: str | None = Option(PATH, None, "worker.pem").help("""
        PEM file with the certificate that workers show to a core on another
        machine.""")
    core_key: str | None = Option(PATH, None, "worker.key").help("""
        PEM file with the private key of --core-cert.""")
    core_timeout: float = Option(SECONDS, 60.0, 20).help("""
        How long a worker waits for the core to answer a request before the client gets
        504.""")
    header_timeout: float = Option(SECONDS, 30.0, 10).help("""
        How long a client may take to send the head of a request, from its first byte;
        then it gets 408.""")
    keepalive_timeout: float = Option(SECONDS, 65.0, 75).help("""
        How long a client's connection may stay open without a request.""")
    max_body: int = Option(size(1), 16 * 1024**2, "64 MiB").help("""
        The largest request body; larger ones get 413.""")
    websocket_max_size: int = Option(size(1), 16 * 1024**2, "1 MiB").help("""
        The largest message that a client may send on a WebSocket; at a larger one the
        connection is closed with 1009.""")
    max_form_fields: int = Option(COUNT, 1000, 5000).help("""
        The most fields of a form, or parts of a multipart one, in request.args; with
        more the client gets 413.""")
    max_form_size: int = Option(size(1), 2 * 1024**2, "4 MiB").help("""
        The largest form in request.args, without the files of a multipart one; with a
        larger one the client gets 413.""")
    static_cache: int = Option(size(), 32 * 1024**2, "128 MiB").help("""
        How much memory each worker may use to keep static files ready.""")
    static_max_age: float = Option(
        seconds(or_zero=True, maximum=_YEAR), 0.0, 3600
    ).help("""
        How long clients may use a static file without asking for it again; names with a
        fingerprint are for ever.""")
    sendfile_header: str | None = Option(
        SENDFILE_HEADER,
        None,
        "X-Accel-Redirect=/internal/static/",
        unset="none, workers send it",
    ).help("""
        The field that tells a server in front to send a static file; PREFIX is the
        internal location of the folder.""")
    trusted_proxies: Sequence[str] = Option(
        TRUSTED_PROXIES,
        ("127.0.0.1", "::1", "unix"),
        ("10.0.0.0/8", "unix"),
        aliases={"FORWARDED_ALLOW_IPS": "{}"},
    ).help("""
        Whose word about the client is taken: addresses, networks, unix, or * (anyone),
        with commas between.""")
    access_log: str | None = Option(
        LOG_PATH, None, "/var/log/shop/access.log", unset="no access log"
    ).help("""
        File to which workers append a line for each request that they have answered; -
        is the master's stdout.""")
    access_log_format: str = Option(
        choice(("combined", "json")), "combined", "json"
    ).help("""
        How the lines of the access log are written: combined, as other web servers do
        it, or json, an object a line.""")
    state: str | None = Option(
        PATH, None, "/var/lib/shop", unset="a folder in $XDG_RUNTIME_DIR, /run or /tmp"
    ).help("""
        Folder for what the master keeps while it runs, such as the core's socket.""")
    reload: bool = Option(SWITCH, False, True).help("""
        For development: workers are reloaded when code changes, templates are read
        anew, and errors are shown in the page.""")
    dispatch: str = Option(DISPATCH, "shared", "least-connections").help("""
        How connections are distributed: shared, reuseport, round-robin,
        least-connections or sticky.""")
    sticky: str = Option(STICKY_KEY, "cookie", "header:X-Session").help("""
        What a client is known by where dispatch is sticky: client-ip, cookie[:NAME],
        header:NAME or query:NAME.""")
    worker_ports: int | None = Option(PORT, None, 3001).help("""
        The first of the ports at which each worker can be reached alone, for a balancer
        in front.""")
    agent_check: str | None = Option(
        AGENT_LISTENER, None, "tcp:9990:interface=127.0.0.1"
    ).help("""
        Where the master answers HAProxy's agent checks, with a weight for each worker
        from the lag of its event loop: tcp: only.""")
    boot_timeout: float = Option(SECONDS, 60.0, 120).help("""
        How long a worker may take from its start until it is ready; then it is
        killed.""")
    hang_timeout: float = Option(SECONDS, 30.0, 10).help("""
        How long a worker's event loop may stand still; then its stacks are logged, and
        it is replaced.""")
    request_timeout: float | None = Option(SECONDS, None, 20, unset="no limit").help("""
        How long an application may take to begin its response; then the client gets 503
        and the handler is cancelled.""")
    graceful_timeout: float = Option(seconds(or_zero=True), 30.0, 10).help("""
        How long workers that stop may take to finish the requests they have; then they
        are killed.""")
    drain_spread: float = Option(seconds(or_zero=True), 5.0, 20).help("""
        The seconds over which a worker that stops closes its WebSockets and event
        streams, so that clients do not all come back at once.""")
    drain_delay: float = Option(seconds(or_zero=True), 0.0, 10).help("""
        How long a cluster that is told to stop says that it is not ready, and goes on
        serving, before it stops: for balancers.""")
    max_requests: int | None = Option(COUNT, None, 100_000, unset="no limit").help("""
        Replace a worker after so many requests, a tenth more or less.""")
    max_lifetime: float | None = Option(SECONDS, None, 86400, unset="no limit").help("""
        Replace a worker after so many seconds, a tenth more or less.""")
    max_rss: int | None = Option(
        size(1024**2), None, "512 MiB", unset="no limit"
    ).help("""
        Replace a worker that has more memory resident.""")
    reload_batch: int = Option(COUNT, 1, 4).help("""
        How many workers a reload replaces at a time, after the first.""")
    health_path: str | None = Option(URL_PATH, None, "/healthz").help("""
        Path on the public port that answers 503 while the cluster is not ready, else as
        the application's route there does, or 200.""")
    min_ready: int = Option(COUNT, 1, 2).help("""
        With fewer workers ready, the cluster says that it is not ready.""")
    require_core: bool = Option(SWITCH, False, True).help("""
        While the core is not ready, the cluster says that it is not ready, either.""")
    working_folder: str | None = Option(
        PATH, None, "/srv/shop/current", unset="where the master was started"
    ).help("""
        Where workers look for modules and files; if it is a symbolic link, a reload
        follows it anew.""")
    control: str | None = Option(
        CONTROL_PATH,
        None,
        "/run/shop.ctl",
        unset="control.sock in a folder of the cluster's own, in --state",
    ).help("""
        The Unix socket that clusterctl talks to, or off.""")

    def __post_init__(self) -> None:
        for option in OPTIONS:
            # A frozen dataclass is assigned to like this while it is initialised.
            object.__setattr__(self, option.name, self._validated(option))
        self._check_core()

    @property
    def listeners(self) -> tuple[ListenSpec, ...]:
        """The endpoints that the workers listen on."""
        return tuple(map(parse, self.listen))

    @property
    def core_listeners(self) -> tuple[TlsListen, ...]:
        """The endpoints that the core listens on for other machines."""
        return tuple(map(parse_core, self.core_listen))

    @property
    def core_is_remote(self) -> bool:
        """Whether the core runs on another machine."""
        return self.core.startswith("https://")

    def as_mapping(self) -> dict[str, Any]:
        """Return every value by its name, in types that JSON has."""
        return {option.name: getattr(self, option.name) for option in OPTIONS}

    def _validated(self, option: Option[Any]) -> object:
        """Return a valid value; only an option with no default may have none."""
        value = getattr(self, option.name)
        if value is None and option.default is None:
            return None
        try:
            return option.type.validate(value)
        except InvalidValueError as error:
            raise InvalidSettingsError(
                {option.name: error.value}, error.reason
            ) from error

    def _check_core(self) -> None:
        """Refuse settings that contradict the location of the core."""
        remote = self.core_is_remote
        reason = "a core on this machine" if remote else "a core at https://HOST"
        for name in _LOCAL_CORE_ONLY if remote else _REMOTE_CORE_ONLY:
            value = getattr(self, name)
            if value:
                raise InvalidSettingsError(
                    {name: value, "core": self.core}, f"{name} is only for {reason}"
                )
        if (self.core_cert is None) != (self.core_key is None):
            raise InvalidSettingsError(
                {"core_cert": self.core_cert, "core_key": self.core_key},
                "must be set together",
            )


#: The declaration of every setting, in the order of the documentation.
OPTIONS: tuple[Option[Any], ...] = tuple(
    replace(field.metadata["option"], name=field.name) for field in fields(Settings)
)
