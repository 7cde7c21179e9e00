"""The bench's work in Flask, for gunicorn."""

import json
import os
from pathlib import Path

from flask import Flask, render_template, request

ROWS = json.loads(Path(__file__).with_name("rows.json").read_text("utf-8"))

app = Flask(__name__, static_folder=os.environ["BENCH_STATIC"])


@app.route("/api/hello/<name>")
def hello(name: str) -> dict[str, str]:
    """Answer a small JSON document."""
    return {"message": f"hello, {name}"}


for number in range(int(os.environ["BENCH_RULES"])):
    app.add_url_rule(f"/section-{number}/<name>/details", f"section-{number}", hello)


@app.route("/page")
def page() -> str:
    """Render a table."""
    return render_template("page.html", title=request.args["title"], rows=ROWS)


@app.route("/form", methods=["POST"])
def form() -> dict[str, object]:
    """Read the fields of a form."""
    return {"fields": len(request.form), "first": request.form["field0"]}


@app.route("/length", methods=["POST"])
def length() -> str:
    """Read the whole body."""
    return str(len(request.get_data()))
