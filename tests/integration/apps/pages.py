"""Pages from templates, in a folder that a test fills and edits."""

import os

from twisted.web.iweb import IRequest

from clusterapp import Application

app = Application(templates=os.environ["PAGES"])


@app.route("/pid")
def pid(request: IRequest) -> str:
    """Return which process answers."""
    return str(os.getpid())


@app.route("/page/<name>")
def page(request: IRequest, name: str) -> str:
    """Make a page."""
    return app.render(name, title="<T>")


@app.core.route("/core/page/<name>")
def core_page(request: IRequest, name: str) -> str:
    """Make a page in the core."""
    return app.render(name, title="<C>")
