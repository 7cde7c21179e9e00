"""The bench's work as an application of clusterapp, written as any user would."""

import json
import os
from pathlib import Path

from twisted.web.iweb import IRequest

from clusterapp import Application

ROWS = json.loads(Path(__file__).with_name("rows.json").read_text("utf-8"))

app = Application(static=os.environ["BENCH_STATIC"])


@app.route("/json")
def hello(request: IRequest) -> str:
    """Answer a small JSON document."""
    request.setHeader(b"content-type", b"application/json")
    return json.dumps({"message": "hello, world"})


@app.route("/slot")
def slot(request: IRequest) -> str:
    """Return which worker answers, and the port that the client has at its end."""
    return f"{app.cluster.slot} {request.getClientAddress().port}"


@app.route("/page")
def page(request: IRequest) -> str:
    """Render a table."""
    request.setHeader(b"content-type", b"text/html; charset=utf-8")
    return app.render("page.html", title="Stock", rows=ROWS)


@app.route("/length", methods=["POST"])
def length(request: IRequest) -> str:
    """Read the whole body."""
    return str(len(request.content.read()))


@app.core.route("/core")
def core(request: IRequest) -> str:
    """Answer what `hello` does, from the core."""
    request.setHeader(b"content-type", b"application/json")
    return json.dumps({"message": "hello, world"})
