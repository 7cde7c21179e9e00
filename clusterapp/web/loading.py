"""The loading of an application: the resources of its workers and of its core."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from klein import Klein
from twisted.internet.interfaces import IReactorThreads
from twisted.python.failure import Failure
from twisted.web.resource import IResource
from werkzeug.routing import Rule

from clusterapp.channel.bootstrap import DEMO
from clusterapp.errors import ApplicationLoadError
from clusterapp.http.klein.klein_resource import klein_resource
from clusterapp.http.server.prepared_response import Answer
from clusterapp.interfaces import Cluster, StaticFolder
from clusterapp.web.application import Application, CoreApplication, bind_cluster
from clusterapp.web.hooks import Hooks
from clusterapp.web.object_lookup import ApplicationKind, find
from clusterapp.web.pages.failure_page import failure_page
from clusterapp.web.routing import Routes, clash
from clusterapp.web.static.static_files import StaticFiles, StaticOptions
from clusterapp.web.templates.templates import Templates
from clusterapp.web.wsgi.wsgi_resource import WSGIRoot


@dataclass(frozen=True)
class LoadedApplication:
    """
    A loaded application, in the form that a worker and a core serve.

    :param kind: the kind of application: Application, Klein, resource or WSGI.
    :param answer: the answer function for static files; None if there are none.
    :param resource: the root resource of a worker: the application, without requests
        for static files and for the core.
    :param core_resource: the root resource of the core; None if the application has
        neither a route nor a hook for it.
    :param routes: the choice between worker, core and static files by path.
    :param hooks: the start and stop hooks of a worker.
    :param core_hooks: the start and stop hooks of the core.
    :param members: the objects whose ``cluster`` is set by `bind`.
    :param templates: the templates of an Application; None for any other kind.
    :param static: the folder of its static files; None if there are none.
    """

    kind: ApplicationKind
    answer: Answer | None
    resource: IResource
    core_resource: IResource | None
    routes: Routes
    hooks: Hooks
    core_hooks: Hooks
    members: Sequence[Application | CoreApplication]
    templates: Templates | None = None
    static: StaticFolder | None = None

    def bind(self, cluster: Cluster) -> None:
        """Set the application's ``cluster``; called once, before its hooks run."""
        for member in self.members:
            bind_cluster(member, cluster)

    def set_up_templates(self, *, reload: bool, cache: str | None) -> None:
        """
        Set how templates are loaded; called before the hooks run.

        :param reload: whether templates are reloaded when they change. Compiled
            templates are not shared then: filters are edited along with templates, and
            compiled templates may have results of filters in them.
        :param cache: the folder of compiled templates shared by all children, if any.
        """
        if self.templates is None:
            return
        if reload:
            self.templates.watch()
        elif cache is not None:
            self.templates.share(Path(cache))

    def failure_page(self, why: Failure) -> bytes:
        """Return an HTML page about a failed request; for developers only."""
        folder = None if self.templates is None else self.templates.folder
        return failure_page(why, folder)


def load(
    app_spec: str | None,
    core_spec: str | None,
    reactor: IReactorThreads,
    static: StaticOptions = StaticOptions(),  # noqa: B008 - it is frozen
) -> LoadedApplication:
    """
    Load an application and its core.

    :param app_spec: ``module:name`` of an Application, a Klein, an IResource
        provider, a WSGI callable, or of a factory of one of these (see
        `clusterapp.web.object_lookup.find`); None for the demo site.
    :param core_spec: the same for the core's Klein, if the application is no
        Application; None without a core.
    :param reactor: the reactor whose thread pool runs a WSGI application.
    :param static: the options of an Application's static files.
    :raises ApplicationLoadError: application or core cannot be loaded, or both have
        the same route.
    """
    spec = DEMO if app_spec is None else app_spec
    kind, app = find(spec)
    core = _core(spec, app, core_spec)
    app_rules, core_rules = _rules(app), _rules(core)
    _check_rules(spec, app_rules, core_rules)
    core_hooks = _hooks(core)
    has_files = isinstance(app, Application) and app.static.is_dir()
    return LoadedApplication(
        kind=kind,
        answer=_files(app, static).answer if has_files else None,
        resource=_resource(kind, app, reactor),
        core_resource=klein_resource(core)
        if core and (core_rules or core_hooks)
        else None,
        routes=Routes(
            app if isinstance(app, Klein) else None,
            core,
            app.static_url if has_files else None,
        ),
        hooks=_hooks(app),
        core_hooks=core_hooks,
        members=[
            each
            for each in (app, core)
            if isinstance(each, Application | CoreApplication)
        ],
        templates=app.templates if isinstance(app, Application) else None,
        static=_static(app) if has_files else None,
    )


def _core(spec: str, app: Any, core_spec: str | None) -> Klein | None:
    if isinstance(app, Application):
        if core_spec is not None:
            raise ApplicationLoadError(
                spec,
                f"it is an Application, which has a core of its own; {core_spec!r}"
                " cannot be its core as well",
            )
        return app.core
    if core_spec is None:
        return None
    kind, core = find(core_spec)
    if kind == "application":
        raise ApplicationLoadError(
            core_spec, f"a core is a plain Klein; did you mean '{core_spec}.core'?"
        )
    if not isinstance(core, Klein):
        raise ApplicationLoadError(core_spec, f"a core is a Klein, not a {kind}")
    return core


def _resource(kind: ApplicationKind, app: Any, reactor: IReactorThreads) -> IResource:
    if isinstance(app, Klein):
        return klein_resource(app)
    if kind == "wsgi":
        return WSGIRoot(reactor, app)
    return IResource(app)


def _files(app: Application, options: StaticOptions) -> StaticFiles:
    return StaticFiles(app.static, app.static_url, app.fingerprints, options)


def _static(app: Application) -> StaticFolder:
    # Symbolic links are not resolved: a proxy that serves the files must follow them
    # at each request.
    return StaticFolder(app.static_url, os.path.abspath(app.static))  # noqa: PTH100


def _rules(app: Any) -> Sequence[Rule]:
    return tuple(app.url_map.iter_rules()) if isinstance(app, Klein) else ()


def _hooks(app: Any) -> Hooks:
    return app.hooks if isinstance(app, Application | CoreApplication) else Hooks()


def _check_rules(
    spec: str, app_rules: Sequence[Rule], core_rules: Sequence[Rule]
) -> None:
    both = clash(app_rules, core_rules)
    if both is None:
        return
    ours, cores = both
    raise ApplicationLoadError(
        spec,
        f"the application and its core have the same route: {ours.rule!r}"
        f" ({ours.endpoint}) and {cores.rule!r} ({cores.endpoint})",
    )
