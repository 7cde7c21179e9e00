"""Warnings, for stderr, about settings that an export changes or leaves out."""

from collections.abc import Iterator
from pathlib import PurePath

from clusterapp.control.exports.derived_settings import file_settings
from clusterapp.control.exports.facts import Facts


def export_warnings(program: str, facts: Facts) -> Iterator[str]:
    """
    Yield what the operator should check in an export, a line for each.

    :param program: the program of the export: a key of `EXPORTS`.
    :param facts: the facts of the cluster.
    """
    match program:
        case "nginx" if facts.static is not None:
            folder = facts.static.folder
            yield from _left_behind(facts, "the static files are", folder, "them")
        case "systemd":
            yield from _programs(facts)
        case "compose" | "kubernetes":
            yield from _container(facts)


def _left_behind(facts: Facts, what: str, path: str, them: str) -> Iterator[str]:
    """Yield a warning if deploys redirect a link, but not to this path."""
    if facts.is_linked and not PurePath(path).is_relative_to(facts.working_folder):
        yield (
            f"{what} in {path}, which is not below the working folder"
            f" {facts.working_folder}: if a deploy moves {them}, export anew"
        )


def _programs(facts: Facts) -> Iterator[str]:
    if not facts.knows_twistd:
        yield (
            "the master does not tell which twistd runs it: the export has that of this"
            f" clusterctl, {facts.twistd}"
        )
    if PurePath(facts.programs).is_absolute():
        yield from _left_behind(facts, "twistd is", facts.programs, "it")
    else:
        yield f"the folder of twistd is relative: {facts.programs}"


def _container(facts: Facts) -> Iterator[str]:
    for name, path in file_settings(facts.settings):
        if not PurePath(path).is_absolute():
            yield (
                f"{name} = {path} is relative to {facts.folder}: it is written as"
                f" {PurePath(facts.folder, path)}"
            )
    log = facts.settings.access_log
    if log not in {None, "-"}:
        yield (
            f"access_log = {log} is left out: a container writes to its stdout, and"
            " the engine keeps that"
        )
