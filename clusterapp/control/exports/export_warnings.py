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
        case "nginx":
            yield from _static(facts)
        case "systemd":
            yield from _programs(facts)
        case "compose" | "kubernetes":
            yield from _container(facts)


def _static(facts: Facts) -> Iterator[str]:
    static = facts.static
    if static is not None and facts.is_linked and not facts.keeps(static.folder):
        yield (
            f"the static files are in {static.folder}, which is not below the working"
            f" folder {facts.working_folder}: if a deploy moves them, export anew"
        )


def _programs(facts: Facts) -> Iterator[str]:
    programs = facts.programs
    if not facts.knows_twistd:
        yield (
            "the master does not tell which twistd runs it: the export has that of this"
            f" clusterctl, {facts.twistd}"
        )
    if not PurePath(programs).is_absolute():
        yield f"the folder of twistd is relative: {programs}"
    elif facts.is_linked and not facts.keeps(programs):
        yield (
            f"twistd is in {programs}, which is not below the working folder"
            f" {facts.working_folder}: if a deploy moves it, export anew"
        )


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
