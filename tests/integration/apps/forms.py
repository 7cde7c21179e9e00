"""An application that looks at forms, in its workers and in its core."""

from twisted.web.server import Request

from clusterapp import Application

app = Application()


@app.route("/form", methods=["POST"])
@app.core.route("/core/form", methods=["POST"])
def count(request: Request) -> str:
    """Return how many values the form has."""
    return str(sum(map(len, (request.args or {}).values())))


@app.route("/ping")
@app.core.route("/core/ping")
def ping(request: Request) -> str:
    """Answer at once."""
    return "pong"
