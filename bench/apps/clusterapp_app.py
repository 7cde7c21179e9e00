"""The bench's work as an application of clusterapp, written as any user would."""

import json
import os
from pathlib import Path

from twisted.web.iweb import IRequest

from clusterapp import Application

ROWS = json.loads(Path(__file__).with_name("rows.json").read_text("utf-8"))

app = Application(static=os.environ["BENCH_STATIC"])


@app.route("/api/hello/<name>")
def hello(request: IRequest, name: str) -> str:
    """Answer a small JSON document."""
    request.setHeader("content-type", "application/json")
    return json.dumps({"message": f"hello, {name}"})


for number in range(int(os.environ["BENCH_RULES"])):
    app.route(f"/section-{number}/<name>/details")(hello)


@app.route("/slot")
def slot(request: IRequest) -> str:
    """Return which worker answers, and the port that the client has at its end."""
    return f"{app.cluster.slot} {request.getClientAddress().port}"


@app.route("/page")
def page(request: IRequest) -> str:
    """Render a table."""
    title = request.args[b"title"][0].decode()
    request.setHeader("content-type", "text/html; charset=utf-8")
    return app.render("page.html", title=title, rows=ROWS)


@app.route("/form", methods=["POST"])
def form(request: IRequest) -> str:
    """Read the fields of a form."""
    fields = request.args
    request.setHeader("content-type", "application/json")
    first = fields[b"field0"][0].decode()
    # The query is among them.
    return json.dumps({"fields": len(fields) - 1, "first": first})


@app.route("/length", methods=["POST"])
def length(request: IRequest) -> str:
    """Read the whole body."""
    return str(len(request.content.read()))


@app.core.route("/core/<name>")
def core(request: IRequest, name: str) -> str:
    """Answer what `hello` does, from the core."""
    return hello(request, name)
