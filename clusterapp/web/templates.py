"""Jinja2 templates from one folder."""

from functools import cached_property
from pathlib import Path

from jinja2 import (
    Environment,
    FileSystemLoader,
    TemplateNotFound,
    select_autoescape,
)


class Templates:
    """
    The templates of one application.

    :param folder: where they are; it need not exist until one is rendered.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def environment(self) -> Environment:
        """
        The Jinja2 environment, to which filters and globals may be added.

        Values are escaped in ``.html``, ``.htm`` and ``.xml`` templates. A template
        is read once: ``auto_reload`` is off, since a file that changes under a
        running worker would be served by some workers and not by others.
        """
        return Environment(
            loader=FileSystemLoader(self.folder),
            autoescape=select_autoescape(),
            auto_reload=False,
        )

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
