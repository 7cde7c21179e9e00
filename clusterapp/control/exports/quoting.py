"""
Jinja2 filters that quote values, by the syntax of each configuration file.

They are the only protection against injection into the file: a template can only write
values that one of them has returned. A filter raises `ExportError` for a value that its
syntax cannot express, such as a line break.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping

from clusterapp.errors import ExportError

#: Names, addresses and paths of URLs without a character that is special in any format.
_BARE = re.compile(r"[A-Za-z0-9_./:~\[\]-]+")

#: Arguments that HAProxy and systemd parse without quotes.
_HAPROXY_BARE = re.compile("[A-Za-z0-9_.!$%&*+^`|~()-]+")
_UNIT_BARE = re.compile(r"[\w./:@%+,=$*-]+")

#: Names that YAML parses as strings without quotes; `on` and `1` are not.
_YAML_BARE = re.compile("(?!(?:y|n|yes|no|on|off|true|false|null)$)[a-z][a-z0-9-]*")


class Quoted(str):
    """A text that a filter has quoted."""

    __slots__ = ()


def quoted_only(value: object) -> Quoted:
    """
    Return a value that a template may write: the environment's ``finalize``.

    :raise TypeError: if it was not quoted by a filter.
    """
    if isinstance(value, Quoted):
        return value
    raise TypeError(f"no filter has quoted {value!r}")


# Filters of several formats.


def comment(text: str) -> Quoted:
    """
    Return text as the rest of a comment.

    :raise ExportError: if it has line breaks, control characters or lone surrogates.
    """
    if text.isprintable():
        return Quoted(text)
    raise ExportError(f"{text!r} cannot be written into a configuration")


def bare(value: object) -> Quoted:
    """Return a name, an address or a path of a URL that needs no quotes."""
    text = str(value)
    if _BARE.fullmatch(text):
        return Quoted(text)
    raise ExportError(f"{text!r} cannot be written into a configuration")


def integer(number: float) -> Quoted:
    """Return the integer part of a number."""
    return Quoted(int(number))


def duration(seconds: float) -> Quoted:
    """Return seconds with a unit that all formats support: ``60s``, ``500ms``."""
    whole = int(seconds)
    return Quoted(f"{whole}s" if seconds == whole else f"{round(seconds * 1000)}ms")


def double_quoted(text: str) -> Quoted:
    """Quote an argument in double quotes, in which a backslash escapes."""
    escaped = comment(text).replace("\\", "\\\\").replace('"', '\\"')
    return Quoted(f'"{escaped}"')


# nginx: most directives expand variables, and a dollar sign cannot be escaped.


def nginx_without_variables(text: str) -> Quoted:
    """Quote an argument of a directive that expands variables."""
    if "$" in text:
        raise ExportError(f"{text!r} has a dollar sign, which nginx cannot escape")
    return double_quoted(text)


# HAProxy: no character is special in single quotes, and none can be escaped there.


def haproxy_string(text: str) -> Quoted:
    """Quote an argument of a keyword."""
    if "'" in comment(text):
        raise ExportError(f"{text} has a quote in it, which HAProxy cannot be told")
    return Quoted(f"'{text}'")


def haproxy_hash_of_header(name: str) -> Quoted:
    """Return the argument of ``balance`` that hashes a header field."""
    text = f"hdr({name})"
    return Quoted(text) if _HAPROXY_BARE.fullmatch(text) else haproxy_string(text)


# systemd: quotes are those of systemd.syntax(7), specifiers those of systemd.unit(5).


def unit_value(text: str) -> Quoted:
    """Return a value that extends to the end of its line, and is not unquoted."""
    if text.endswith("\\") or text != text.strip():
        raise ExportError(f"{text!r} cannot be written into a unit")
    return Quoted(comment(text).replace("%", "%%"))


def unit_path(path: str) -> Quoted:
    """Quote one path of a list of paths."""
    return Quoted(double_quoted(path).replace("%", "%%"))


def unit_program(path: str) -> Quoted:
    """Return the program of a command, in which systemd expands no variables."""
    text = comment(path).replace("%", "%%")
    return Quoted(text) if _UNIT_BARE.fullmatch(text) else unit_path(path)


def unit_words(words: Iterable[str]) -> Quoted:
    """Return arguments of a command (systemd.service(5), "COMMAND LINES")."""
    return Quoted(" ".join(unit_program(word.replace("$", "$$")) for word in words))


# YAML, a superset of JSON.


def yaml_string(text: str) -> Quoted:
    """Quote a string; YAML does not combine JSON's surrogate pairs."""
    is_ascii = max(comment(text), default="") <= "\uffff"
    return Quoted(json.dumps(text, ensure_ascii=is_ascii))


def yaml_name(text: str) -> Quoted:
    """Return a name, quoted if it would not be parsed as a string."""
    return Quoted(text) if _YAML_BARE.fullmatch(text) else yaml_string(text)


def compose_string(text: str) -> Quoted:
    """Quote a string in which compose would interpolate variables."""
    return yaml_string(text.replace("$", "$$"))


def kubernetes_argument(text: str) -> Quoted:
    """Quote an argument in which Kubernetes expands ``$(NAME)`` and ``$$``."""
    return yaml_string(re.sub(r"\$(?=[$(])", "$$", text))


Filters = Mapping[str, Callable[..., Quoted]]
_COMMON: Filters = {f.__name__: f for f in (bare, comment, duration, integer)}

#: The filters of each template, by their names in it.
FILTERS: Mapping[str, Filters] = {
    "nginx.conf.j2": dict(
        _COMMON, quoted=double_quoted, without_variables=nginx_without_variables
    ),
    "haproxy.cfg.j2": dict(
        _COMMON, quoted=haproxy_string, hash_of_header=haproxy_hash_of_header
    ),
    "systemd.units.j2": dict(
        _COMMON,
        path=unit_path,
        program=unit_program,
        value=unit_value,
        words=unit_words,
    ),
    "compose.yaml.j2": dict(_COMMON, name=yaml_name, quoted=compose_string),
    "kubernetes.yaml.j2": dict(
        _COMMON, argument=kubernetes_argument, name=yaml_name, quoted=yaml_string
    ),
}
