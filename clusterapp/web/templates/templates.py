"""The Jinja2 templates of an application."""

from collections.abc import Callable, MutableMapping
from functools import cached_property
from pathlib import Path

from jinja2 import Environment, TemplateNotFound, TemplateSyntaxError
from twisted.logger import Logger

from clusterapp.web.templates.bytecode_cache import SharedBytecode
from clusterapp.web.templates.jinja_environment import is_template, new_environment
from clusterapp.wording import counted

#: The most seconds for which a process compiles templates before it is ready.
WARM_SECONDS = 5.0


class Templates:
    """
    The templates of one application.

    :param folder: the folder of the templates; it need not exist before rendering.
    """

    _log = Logger()

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def environment(self) -> Environment:
        """
        The Jinja2 environment, to which filters can be added.

        Values are escaped in markup (see `is_markup`). A template is read only once:
        otherwise some workers would serve a changed file, and others the old one;
        `watch` is for development.
        """
        return new_environment(self.folder)

    @property
    def globals(self) -> MutableMapping[str, object]:
        """The global variables of all templates; can be added to at any time."""
        return self.environment.globals

    def watch(self) -> None:
        """Check a template's file at each use, and reload it if it has changed."""
        self.environment.auto_reload = True

    def share(self, folder: Path) -> None:
        """
        Store compiled templates in a folder that processes share.

        :param folder: the folder, to which no other user can write.
        """
        self.environment.bytecode_cache = SharedBytecode(folder)

    def warm(self, seconds: Callable[[], float]) -> None:
        """
        Compile the templates now rather than at the first use of each.

        Only files with a template's name are compiled (see `is_template`). A broken
        template is logged and is no error: it may be unused.

        :param seconds: returns the time in seconds; after `WARM_SECONDS` the remaining
            templates are left uncompiled.
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

        :raises TemplateNotFound: the template or the folder does not exist.
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
            return []  # the application has set a loader that cannot list templates

    def _compile(self, name: str) -> None:
        try:
            self.environment.get_template(name)
        except TemplateSyntaxError as error:
            self._warn(f"{self.folder / name}, line {error.lineno}", error)
        except Exception as error:  # noqa: BLE001 - undecodable, or not readable
            self._warn(f"{self.folder / name}", error)

    def _warn(self, place: str, error: Exception) -> None:
        self._log.warn(
            "cannot compile the template {place}: {error}", place=place, error=error
        )
