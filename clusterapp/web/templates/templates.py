"""Jinja2 templates from one folder."""

from collections.abc import Callable, MutableMapping
from functools import cached_property
from pathlib import Path

from jinja2 import Environment, TemplateNotFound, TemplateSyntaxError
from twisted.logger import Logger

from clusterapp.web.templates.bytecode_cache import SharedBytecode
from clusterapp.web.templates.jinja_environment import is_template, new_environment
from clusterapp.wording import counted

#: For how many seconds a process may compile templates before it is ready.
WARM_SECONDS = 5.0


class Templates:
    """
    The templates of one application.

    :param folder: where they are; it need not exist until one is rendered.
    """

    _log = Logger()

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def environment(self) -> Environment:
        """
        The Jinja2 environment, to which filters may be added.

        Values are escaped in markup (see `is_markup`). A template is read once:
        a file that changes under a running worker would be served by some workers
        and not by others; `watch` is for those who develop.
        """
        return new_environment(self.folder)

    @property
    def globals(self) -> MutableMapping[str, object]:
        """What every template may name; to be added to at any time."""
        return self.environment.globals

    def watch(self) -> None:
        """Look at each template's file whenever it is used, and read it if changed."""
        self.environment.auto_reload = True

    def share(self, folder: Path) -> None:
        """
        Keep compiled templates where other processes find them.

        :param folder: a folder that nobody but this user can write to.
        """
        self.environment.bytecode_cache = SharedBytecode(folder)

    def warm(self, seconds: Callable[[], float]) -> None:
        """
        Compile the templates now rather than at the first request for each.

        Those are meant whose names say what they are (see `is_template`). One that
        is broken is told in the log, and no error: perhaps nobody uses it.

        :param seconds: the time; after `WARM_SECONDS` the rest is left.
        """
        until = seconds() + WARM_SECONDS
        names = self._names()
        for done, name in enumerate(names):
            if seconds() > until:
                self._log.warn(
                    "{done} of {all} compiled after {limit:.0f} s;"
                    " the others will be when they are used",
                    done=done,
                    all=counted(len(names), "template"),
                    limit=WARM_SECONDS,
                )
                return
            self._compile(name)

    def render(self, template: str, values: dict[str, object]) -> str:
        """
        Render ``template``, a path below the folder, with ``values``.

        :raises TemplateNotFound: there is no such template, or no folder at all.
        """
        try:
            return self.environment.get_template(template).render(values)
        except TemplateNotFound as error:
            if self.folder.is_dir():
                raise
            raise TemplateNotFound(
                error.name,
                f"cannot render {template!r}: there is no folder {self.folder}",
            ) from None

    def _names(self) -> list[str]:
        try:
            return self.environment.list_templates(filter_func=is_template)
        except TypeError:
            return []  # the application has put a loader there that knows no names

    def _compile(self, name: str) -> None:
        try:
            self.environment.get_template(name)
        except TemplateSyntaxError as error:
            self._warn(f"{self.folder / name}, line {error.lineno}", error)
        except Exception as error:  # noqa: BLE001 - it is no text, or cannot be read
            self._warn(f"{self.folder / name}", error)

    def _warn(self, place: str, error: Exception) -> None:
        self._log.warn(
            "cannot compile the template {place}: {error}", place=place, error=error
        )
