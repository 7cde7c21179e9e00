"""What several exports write: spans of time, flags, and text that must stay in line."""

from collections.abc import Container, Iterator, Sequence
from typing import Any

from clusterapp.errors import ExportError
from clusterapp.settings.model import OPTIONS, Settings
from clusterapp.settings.option import Option

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
    for option in OPTIONS:
        value = getattr(settings, option.name)
        if value != option.default and option.name not in without:
            yield from _flag(option, value)


def _flag(option: Option[Any], value: object) -> Iterator[tuple[str, ...]]:
    if not option.type.metavar:
        yield (option.flag,)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        items = list(map(one_line, value))
        texts = items if option.type.repeatable else [",".join(items)]
        yield from ((option.flag, text) for text in texts)
    else:
        yield option.flag, one_line(str(value).removesuffix(".0"))
