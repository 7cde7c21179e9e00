"""An application that responds with the address and the scheme of its client."""

import json

from twisted.web.http import Request

from clusterapp import Application

app = Application()


def told(request: Request) -> str:
    """Return what the request says of its client."""
    client = request.getClientAddress()
    return json.dumps(
        {
            "host": getattr(client, "host", None),
            "port": getattr(client, "port", None),
            "secure": request.isSecure(),
        }
    )


@app.route("/who")
def who(request: Request) -> str:
    """Return it in the worker."""
    return told(request)


@app.core.route("/core/who")
def core_who(request: Request) -> str:
    """Return it in the core."""
    return told(request)
