"""The `Application` that a user writes: a Klein with a second Klein, the core."""

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
    The cluster of an application and its core, shared by both objects.

    Internal: applications read ``app.cluster``; `bind_cluster` sets it.

    :ivar joined: the cluster; None outside a worker or a core.
    """

    def __init__(self) -> None:
        self.joined: Cluster | None = None


class _MemberKlein(Klein):
    """A Klein with start and stop hooks and the attribute `cluster`."""

    def __init__(self) -> None:
        super().__init__()
        self.hooks = Hooks()
        self.shared = SharedCluster()

    def on_start(self, hook: HookT) -> HookT:
        """
        Register a function to run before the first request (a decorator).

        The function has no argument. It may return a Deferred or be a coroutine
        function, which can await Deferreds and, in workers and in an isolated core,
        the awaitables of asyncio libraries. Hooks run one after the other in the order
        of registration. If a hook fails, the process does not start.
        """
        return self.hooks.on_start(hook)

    def on_stop(self, hook: HookT) -> HookT:
        """
        Register a function to run after the last request (a decorator).

        As `on_start`, but stop hooks run in reverse order; a hook that fails is logged,
        and the remaining hooks still run.
        """
        return self.hooks.on_stop(hook)

    @property
    def cluster(self) -> Cluster:
        """
        The cluster of this process.

        :raises NotInClusterError: outside a worker or a core, and while the
            application is being imported.
        """
        if self.shared.joined is None:
            raise NotInClusterError(
                "app.cluster exists only in a worker or a core that is running;"
                " ask for it in a hook or while a request is served"
            )
        return self.shared.joined

    def __get__(self, instance: Any, owner: object) -> Self:
        """Return a copy with routes and hooks bound to ``instance`` (in a class)."""
        bound = cast("Self", super().__get__(instance, owner))
        if bound is not self:
            bound.hooks = self.hooks.bound_to(instance)
            bound.shared = self.shared
        return bound


class CoreApplication(_MemberKlein):
    """
    The routes and hooks of an application that run once per cluster, in the core.

    Routes are declared on it as on any Klein; workers forward requests for them.
    """


class Application(_MemberKlein):
    """
    A Klein that runs in every worker, with static files, templates and a core.

    Folders are relative to the folder of the module that creates the application. A
    folder that does not exist is not served.

    :param static: the folder of the files below ``static_url``.
    :param templates: the folder of the Jinja2 templates for `render`.
    :param static_url: the URL path of the static files, with a slash at both ends;
        it takes precedence over routes.
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
        :param values: the variables of the template; escaped in HTML and XML.
        :raises jinja2.TemplateNotFound: the template or the folder does not exist.
        """
        return self.templates.render(template, values)

    def __get__(self, instance: Any, owner: object) -> Self:
        """Return a bound copy, its core bound too; folders and templates are shared."""
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
    Set ``app.cluster`` and ``app.core.cluster``.

    Called by the programs of the worker and of the core, before the start hooks run.
    """
    app.shared.joined = cluster


def _home(made: object) -> Path:
    """
    Return the folder of the module whose code is constructing ``made``.

    Constructors of subclasses are skipped, whichever module has them. For code without
    a file (an interactive session) it is the working directory.
    """
    frame = currentframe()
    while frame is not None and (_is_ours(frame) or _constructs(frame, made)):
        frame = frame.f_back
    file = None if frame is None else frame.f_globals.get("__file__")
    return Path.cwd() if file is None else Path(file).absolute().parent


def _is_ours(frame: FrameType) -> bool:
    return frame.f_globals.get("__name__") == __name__


def _constructs(frame: FrameType, made: object) -> bool:
    """Return whether ``frame`` runs an ``__init__`` of ``made``."""
    code = frame.f_code
    return (
        code.co_name == "__init__"
        and code.co_argcount > 0
        and frame.f_locals.get(code.co_varnames[0]) is made
    )
