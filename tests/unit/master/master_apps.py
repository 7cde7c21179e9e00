"""Applications for the tests of the master, which loads them by name."""

from twisted.internet.defer import Deferred

from clusterapp.web.application import Application

#: What the hooks of `hooked` do: each answer is given once, in this order.
START: list[object] = []
STOP: list[object] = []
#: The folder of templates of `pages`.
PAGES: list[str] = []
#: What the hooks have seen.
SEEN: list[object] = []


def plain() -> Application:
    """Make an application whose core has a route and no hook."""
    app = Application()

    @app.core.route("/counter")
    def counter(_request: object) -> bytes:
        return b"1"

    return app


def hooked() -> Application:
    """Make an application whose core's hooks do what the test wants."""
    app = plain()

    @app.core.on_start
    def start() -> object:
        SEEN.append((app.core.cluster.role, app.core.cluster.slot))
        return _next(START)

    @app.core.on_stop
    def stop() -> object:
        SEEN.append("stop")
        return _next(STOP)

    return app


def pages() -> Application:
    """Make an application with a template for which a start hook adds a filter."""
    app = Application(templates=PAGES[0])

    @app.on_start
    def start() -> None:
        app.templates.environment.filters["double"] = lambda text: text * 2

    return app


def _next(answers: list[object]) -> object:
    answer = answers.pop(0) if answers else None
    if isinstance(answer, Exception):
        raise answer
    return answer


def forget() -> None:
    """Begin another test."""
    for each in (START, STOP, PAGES, SEEN):
        each.clear()


def pending(answers: list[object]) -> "Deferred[None]":
    """Make the next hook wait for a Deferred; return it."""
    waited: Deferred[None] = Deferred()
    answers.append(waited)
    return waited


def worker_hooks() -> Application:
    """Make an application whose own hooks do what the test wants."""
    app = Application()

    @app.on_start
    def start() -> object:
        SEEN.append((app.cluster.role, app.cluster.slot))
        return _next(START)

    @app.on_stop
    def stop() -> object:
        SEEN.append("stop")
        return _next(STOP)

    return app
