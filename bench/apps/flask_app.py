"""The bench's work in Flask, for gunicorn."""

import json
import os
from pathlib import Path

from flask import Flask, render_template, request

ROWS = json.loads(Path(__file__).with_name("rows.json").read_text("utf-8"))

app = Flask(__name__, static_folder=os.environ["BENCH_STATIC"])


@app.route("/json")
def hello() -> dict[str, str]:
    """Answer a small JSON document."""
    return {"message": "hello, world"}


@app.route("/page")
def page() -> str:
    """Render a table."""
    return render_template("page.html", title="Stock", rows=ROWS)


@app.route("/length", methods=["POST"])
def length() -> str:
    """Read the whole body."""
    return str(len(request.get_data()))
