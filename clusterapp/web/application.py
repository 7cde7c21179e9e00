"""The application that a user writes: a Klein, with a second Klein inside."""

import re
from inspect import currentframe
from os import PathLike
from pathlib import Path
from types import FrameType
from typing import Any, Self, cast

from klein import Klein

from clusterapp.errors import NotInClusterError
from clusterapp.interfaces import Cluster
from clusterapp.web.hooks import Hooks, HookT
from clusterapp.web.static.fingerprints import Fingerprints
from clusterapp.web.templates.templates import Templates

_STATIC_URL = re.compile(r"/(?:[^/?#%]+/)+")


class SharedCluster:
    """
    What an application and its core share: the cluster they run in, if any.

    Not for applications, which read ``app.cluster``; see `bind_cluster`.
    """

    def __init__(self) -> None:
        self.joined: Cluster | None = None


class _MemberKlein(Klein):
    """A Klein with start and stop hooks, which knows the cluster it runs in."""

    def __init__(self) -> None:
        super().__init__()
        self.hooks = Hooks()
        self.shared = SharedCluster()

    def on_start(self, hook: HookT) -> HookT:
        """
        Run a function before the first request (a decorator).

        It takes no argument and may return a Deferred or be a coroutine function
        (which awaits Deferreds and, in workers and in an isolated core, whatever
        asyncio libraries give). Hooks run one after the other in the order they
        are written. When one fails, the process does not start.
        """
        return self.hooks.on_start(hook)

    def on_stop(self, hook: HookT) -> HookT:
        """
        Run a function after the last request (a decorator).

        As `on_start`, but in reverse order; one that fails is logged, and the
        others still run.
        """
        return self.hooks.on_stop(hook)

    @property
    def cluster(self) -> Cluster:
        """
        The cluster that this process belongs to.

        :raises NotInClusterError: outside a worker or a core, and while the
            application is still being imported.
        """
        if self.shared.joined is None:
            raise NotInClusterError(
                "app.cluster exists only in a worker or a core that is running;"
                " ask for it in a hook or while a request is served"
            )
        return self.shared.joined

    def __get__(self, instance: Any, owner: object) -> Self:
        """Bind routes and hooks to ``instance`` when declared in a class body."""
        bound = cast("Self", super().__get__(instance, owner))
        if bound is not self:
            bound.hooks = self.hooks.bound_to(instance)
            bound.shared = self.shared
        return bound


class CoreApplication(_MemberKlein):
    """
    The routes and hooks of an application that exist once in the whole cluster.

    Routes are declared on it as on any Klein; workers forward their requests.
    """


class Application(_MemberKlein):
    """
    A Klein that runs in every worker, with its folders and its core.

    Folders are relative to that of the module that makes the application, and one
    that does not exist is not served.

    :param static: the folder of the files below ``static_url``.
    :param templates: the folder of the Jinja2 templates that `render` knows.
    :param static_url: where the static files are, with a slash at both ends; they
        come before the routes.
    :raises ValueError: ``static_url`` is not of that form.
    """

    def __init__(
        self,
        static: str | PathLike[str] = "static",
        templates: str | PathLike[str] = "templates",
        static_url: str = "/static/",
    ) -> None:
        super().__init__()
        if not _STATIC_URL.fullmatch(static_url):
            raise ValueError(
                "static_url must begin and end with a slash and name something"
                f" between them, as in '/static/', not {static_url!r}"
            )
        home = _home(self)
        self.core = CoreApplication()
        self.core.shared = self.shared
        self.static = home / static
        self.static_url = static_url
        self.fingerprints = Fingerprints(self.static, static_url)
        self.templates = Templates(home / templates)
        self.templates.globals["static_url"] = self.fingerprints.url

    def render(self, template: str, /, **values: object) -> str:
        """
        Render a Jinja2 template from the folder of templates.

        :param template: its path below that folder, such as ``"hello.html"``.
        :param values: what the template may name; escaped in HTML and XML.
        :raises jinja2.TemplateNotFound: no such template, or no such folder.
        """
        return self.templates.render(template, values)

    def __get__(self, instance: Any, owner: object) -> Self:
        """Bind the core as well; folders and templates are shared."""
        bound = super().__get__(instance, owner)
        if bound is not self:
            bound.core = self.core.__get__(instance, owner)
            bound.static = self.static
            bound.static_url = self.static_url
            bound.fingerprints = self.fingerprints
            bound.templates = self.templates
        return bound


def bind_cluster(app: Application | CoreApplication, cluster: Cluster) -> None:
    """
    Make ``cluster`` what ``app.cluster`` and ``app.core.cluster`` answer.

    For the programs of the worker and of the core, before the start hooks run.
    """
    app.shared.joined = cluster


def _home(made: object) -> Path:
    """
    Return the folder of the module that is making ``made``.

    The constructor of a subclass does not count, wherever it was written. Where
    the maker has no file (an interactive session), it is the working directory.
    """
    frame = currentframe()
    while frame is not None and (_is_ours(frame) or _constructs(frame, made)):
        frame = frame.f_back
    file = None if frame is None else frame.f_globals.get("__file__")
    return Path.cwd() if file is None else Path(file).absolute().parent


def _is_ours(frame: FrameType) -> bool:
    return frame.f_globals.get("__name__") == __name__


def _constructs(frame: FrameType, made: object) -> bool:
    """Whether ``frame`` runs an ``__init__`` of ``made``."""
    code = frame.f_code
    return (
        code.co_name == "__init__"
        and code.co_argcount > 0
        and frame.f_locals.get(code.co_varnames[0]) is made
    )
