"""
A Flask application, as an example of WSGI.

Start it with ``twistd -n clusterapp --app flask_app:app --workers 4``, then::

    curl http://127.0.0.1:8080/hello/you
"""

import os

from flask import Flask

app = Flask(__name__)


@app.route("/hello/<name>")
def hello(name: str) -> str:
    """Greet from a thread of whichever worker took the connection."""
    return f"Hello, {name}, from process {os.getpid()}\n"
