"""
The bench's work in Klein on twisted.web's own server.

``python klein_app.py PORT`` serves it on the loopback address.
"""

import json
import os
import sys
from pathlib import Path

from jinja2 import Environment, FileSystemLoader
from klein import Klein
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.web.http import Request
from twisted.web.iweb import IRequest
from twisted.web.server import Site
from twisted.web.static import File

HERE = Path(__file__).resolve().parent
ROWS = json.loads((HERE / "rows.json").read_text("utf-8"))

app = Klein()
templates = Environment(
    loader=FileSystemLoader(HERE / "templates"), autoescape=True, auto_reload=False
)


@app.route("/api/hello/<name>")
def hello(request: IRequest, name: str) -> str:
    """Answer a small JSON document."""
    request.setHeader("content-type", "application/json")
    return json.dumps({"message": f"hello, {name}"})


for number in range(int(os.environ["BENCH_RULES"])):
    app.route(f"/section-{number}/<name>/details", endpoint=f"section-{number}")(hello)


@app.route("/page")
def page(request: IRequest) -> str:
    """Render a table."""
    title = request.args[b"title"][0].decode()
    request.setHeader("content-type", "text/html; charset=utf-8")
    return templates.get_template("page.html").render(title=title, rows=ROWS)


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


@app.route("/static/", branch=True)
def static(request: IRequest) -> File:
    """Serve the files."""
    return File(os.environ["BENCH_STATIC"])


class QuietSite(Site):
    """A site without an access log, as that of every other server here."""

    def log(self, request: Request) -> None:
        """Write nothing."""


if __name__ == "__main__":
    site = QuietSite(app.resource())
    endpoint = TCP4ServerEndpoint(reactor, int(sys.argv[1]), interface="127.0.0.1")
    endpoint.listen(site)
    reactor.run()
