"""Says which worker has answered, and by what it is known."""

import json
import os
from typing import Any

from clusterapp import Application

app = Application()


@app.route("/")
def place(request: Any) -> str:
    """Return the slot and the pid."""
    return json.dumps({"slot": app.cluster.slot, "pid": os.getpid()})
