"""
A Klein application with a core module.

Start it with ``twistd -n clusterapp --app klein_app:app --workers 4``, then::

    curl http://127.0.0.1:8080/hello/you
    curl -X POST http://127.0.0.1:8080/counter
"""

import os
from itertools import count

from twisted.web.iweb import IRequest

from clusterapp import Application

app = Application()
visits = count(1)


@app.route("/hello/<name>")
def hello(request: IRequest, name: str) -> str:
    """Greet from whichever worker took the connection."""
    return f"Hello, {name}, from process {os.getpid()}\n"


@app.core.route("/counter", methods=["POST"])
def counter(request: IRequest) -> str:
    """Count in the one core, whichever worker the request came to."""
    return f"{next(visits)}\n"
