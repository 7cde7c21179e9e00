"""Values that several exports derive from settings: flags, files, timeouts."""

from collections.abc import Container, Iterator

from clusterapp.control.exports.facts import UpstreamAddress
from clusterapp.settings.listen import ALL_INTERFACES
from clusterapp.settings.model import OPTIONS, Settings
from clusterapp.settings.stop_time import longest_stop

#: Settings that whatever starts the cluster has a place of its own for, or that an
#: export writes in another way.
NOT_AS_FLAGS = ("listen", "workers", "state", "control", "working_folder")

#: The settings, and the attributes of a listener, that name files or folders.
_FILES = (
    "core_ca",
    "core_cert",
    "core_key",
    "certificate",
    "key",
    "certificates",
    "ca",
)

#: The seconds by which a proxy's timeout exceeds the cluster's, so that the cluster's
#: own response comes first.
_MARGIN = 10.0

#: The seconds by which a supervisor waits for longer than a graceful stop can take.
_STOP_MARGIN = 4.0

#: The least response timeout of a proxy if the cluster has none, in seconds.
_NO_LIMIT = 3600.0

#: By how many seconds at most a proxy closes an idle connection before the worker does.
_IDLE_MARGIN = 5.0


class Timeouts:
    """
    Timeouts of a proxy or a supervisor, in seconds.

    :ivar response: how long a proxy waits for a response.
    :ivar idle: how long a proxy keeps an idle connection to a worker: less than the
        keep-alive timeout, since the proxy's next request could cross a worker's close.
    :ivar stop: how long a supervisor waits for a graceful stop before it kills the
        cluster.
    """

    def __init__(self, settings: Settings) -> None:
        ours, keepalive = settings.request_timeout, settings.keepalive_timeout
        limit = _NO_LIMIT - _MARGIN if ours is None else ours
        self.response = max(limit, settings.core_timeout) + _MARGIN
        self.idle = max(keepalive - _IDLE_MARGIN, keepalive / 2)
        self.stop = longest_stop(settings) + _STOP_MARGIN


def bind_address(interface: str, port: int | None) -> str:
    """Return ``interface:port``, or the port alone for all interfaces."""
    return str(
        port if interface == ALL_INTERFACES else UpstreamAddress(interface, port)
    )


def named_files(named: object) -> Iterator[tuple[str, str]]:
    """Yield the files and folders, except logs, in settings or a listener."""
    paths = ((name, getattr(named, name, None)) for name in _FILES)
    yield from ((name, path) for name, path in paths if path is not None)


def file_settings(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield the files and folders in settings and all their listeners."""
    for named in (settings, *settings.listeners, *settings.core_listeners):
        yield from named_files(named)


def flags(settings: Settings, without: Container[str]) -> Iterator[tuple[str, ...]]:
    """
    Yield the flags of all settings that differ from their defaults.

    :param without: the names of settings that are left out.
    :return: the words of each flag.
    """
    for option in OPTIONS:
        value = getattr(settings, option.name)
        if value == option.default or option.name in without:
            continue
        if not option.type.metavar:
            yield (option.flag,)
        elif isinstance(value, tuple):
            texts = value if option.type.repeatable else [",".join(value)]
            yield from ((option.flag, text) for text in texts)
        else:
            yield option.flag, str(value).removesuffix(".0")
