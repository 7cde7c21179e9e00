"""What several exports write: spans of time, flags, and text that must stay in line."""

from collections.abc import Container, Iterator, Sequence

from clusterapp.errors import ExportError
from clusterapp.settings.model import SETTINGS, Settings
from clusterapp.settings.table import Setting

#: The settings, and the parts of a listener, that name files or folders.
FILE_SETTINGS = ("core_ca", "core_cert", "core_key")
LISTENER_FILES = ("certificate", "key", "certificates", "ca")

#: How much longer than we a proxy waits, in seconds, so that our answer comes first.
_LONGER = 10.0

#: What a proxy waits where we set no limit, in seconds.
_NO_LIMIT = 3600.0

#: How much earlier than we a proxy closes an idle connection, at most, in seconds.
_EARLIER = 5.0


def one_line(text: str) -> str:
    """
    Let text through that cannot become another line of a configuration.

    :raise ExportError: if it could, or is no text at all.
    """
    if text.isprintable():
        return text
    raise ExportError(f"{text!r} cannot be written into a configuration")


def span(seconds: float) -> str:
    """Write a span of time as all of these programs read it: ``60s``, ``500ms``."""
    whole = int(seconds)
    return f"{whole}s" if seconds == whole else f"{round(seconds * 1000)}ms"


def answer_timeout(settings: Settings) -> float:
    """Tell how long a proxy is to wait for an answer, in seconds."""
    if settings.request_timeout is None:
        return max(_NO_LIMIT, settings.core_timeout + _LONGER)
    return max(settings.request_timeout, settings.core_timeout) + _LONGER


def idle_timeout(settings: Settings) -> float:
    """
    Tell how long a proxy may keep an idle connection to a worker, in seconds.

    Who closes first loses nothing; the other's next request may cross the close.
    """
    ours = settings.keepalive_timeout
    return max(ours - _EARLIER, ours / 2)


def stop_time(settings: Settings) -> float:
    """Tell how long a stop may take, in seconds, with some to spare."""
    return settings.drain_delay + settings.graceful_timeout + _LONGER


def file_settings(settings: Settings) -> Iterator[tuple[str, str]]:
    """
    Give the files and folders that the settings name, but for logs.

    :return: for each the setting, or the part of a listener, and the path.
    """
    for name in FILE_SETTINGS:
        path = getattr(settings, name)
        if path is not None:
            yield name, path
    for listener in (*settings.listeners, *settings.core_listeners):
        for part in LISTENER_FILES:
            path = getattr(listener, part, None)
            if path is not None:
                yield part, path


def flags(settings: Settings, without: Container[str]) -> Iterator[tuple[str, ...]]:
    """
    Give the flags of all settings that are not as they are by default.

    :param without: the names of settings that are left out.
    :return: for each flag its words.
    """
    for setting in SETTINGS:
        value = getattr(settings, setting.name)
        if value != setting.default and setting.name not in without:
            yield from _flag(setting, value)


def _flag(setting: Setting, value: object) -> Iterator[tuple[str, ...]]:
    name, kind = f"--{setting.flag}", setting.about.kind
    if not kind.metavar:
        yield (name,)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        items = list(map(one_line, value))
        texts = items if kind.repeatable else [kind.divided_at.join(items)]
        yield from ((name, text) for text in texts)
    else:
        yield name, one_line(str(value).removesuffix(".0"))
