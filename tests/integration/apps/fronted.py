"""An application that tells what it hears of clients through a proxy."""

import json
import os
from typing import Any

from twisted.python.failure import Failure
from twisted.web.http import Request
from twisted.web.websocket import WebSocketResource, WebSocketTransport

from clusterapp import Application


class Echo:
    """A WebSocket that says everything back."""

    @classmethod
    def buildProtocol(cls, request: Any) -> "Echo":
        """Make one for a connection."""
        return cls()

    def negotiationStarted(self, transport: WebSocketTransport) -> None:
        """Keep the transport."""
        self.transport = transport

    def negotiationFinished(self) -> None:
        """Do nothing yet."""

    def textMessageReceived(self, message: str) -> None:
        """Say it back."""
        self.transport.sendTextMessage(message)

    def bytesMessageReceived(self, data: bytes | bytearray) -> None:
        """Do nothing."""

    def pongReceived(self, payload: bytes) -> None:
        """Do nothing."""

    def connectionLost(self, reason: Failure) -> None:
        """Do nothing."""


app = Application(static=os.environ["FRONTED_STATIC"])


@app.route("/who")
def who(request: Request) -> str:
    """Return this worker's slot and pid, and the fields of the request."""
    fields = {
        name.decode().lower(): b", ".join(values).decode()
        for name, values in request.requestHeaders.getAllRawHeaders()
    }
    answer = {"slot": app.cluster.slot, "pid": os.getpid(), "fields": fields}
    return json.dumps(answer)


@app.route("/length", methods=["POST"])
def length(request: Request) -> str:
    """Return how long the body is."""
    assert request.content is not None
    return str(len(request.content.read()))


@app.route("/stylesheet")
def stylesheet(request: Request) -> str:
    """Return a URL with a fingerprint."""
    return app.fingerprints.url("app.css")


@app.route("/socket")
def socket(request: Request) -> WebSocketResource:
    """Upgrade, and say everything back."""
    return WebSocketResource(Echo)


@app.core.route("/counted")
def counted(request: Request) -> str:
    """Answer from the core."""
    return "the core"
