"""An application whose core streams, echoes, upgrades and hangs."""

import hashlib
import os
import tempfile
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.protocols.basic import FileSender
from twisted.python.failure import Failure
from twisted.web.http import Request
from twisted.web.websocket import WebSocketResource, WebSocketTransport

from clusterapp import Application

#: What the large download holds, in bytes.
LARGE = 1024**3

app = Application()


@app.route("/")
def root(request: Request) -> str:
    """Answer in the worker."""
    return "worker"


@app.core.route("/core/upload", methods=["POST"])
def upload(request: Request) -> str:
    """Return how long a body was, and its digest."""
    body = request.content
    assert body is not None
    digest = hashlib.sha256()
    while piece := body.read(65536):
        digest.update(piece)
    return f"{body.tell()} {digest.hexdigest()}"


@app.core.route("/core/download")
async def download(request: Request) -> None:
    """Send a large body, as fast as the client takes it."""
    with tempfile.TemporaryFile() as hole:
        hole.truncate(LARGE)
        request.setHeader(b"content-length", b"%d" % LARGE)
        await FileSender().beginFileTransfer(hole, request)


@app.core.route("/core/echo/<path:rest>")
def echo(request: Request, rest: str) -> bytes:
    """Return the request's target and its fields."""
    lines = [request.method + b" " + request.uri]
    for name, values in request.requestHeaders.getAllRawHeaders():
        lines += [name + b": " + value for value in values]
    return b"\n".join(lines)


@app.core.route("/core/hang")
def hang(request: Request) -> "Deferred[str]":
    """Never answer; print when the request is cancelled."""
    print("hangs", flush=True)
    forever: Deferred[str] = Deferred()
    forever.addErrback(_cancelled)
    return forever


def _cancelled(why: Failure) -> str:
    why.trap(CancelledError)
    print("cancelled", flush=True)
    return ""


@app.core.route("/core/die-midway")
async def die_midway(request: Request) -> None:
    """Send a part of an answer, then take the process away."""
    request.setHeader(b"content-length", b"1000")
    request.write(b"a part")
    await deferLater(reactor, 0.2)
    os._exit(7)


@app.core.route("/core/events")
async def events(request: Request) -> None:
    """Send an event at once, and one every tenth of a second."""
    request.setHeader(b"content-type", b"text/event-stream")
    while True:
        request.write(b"data: tick\n\n")
        await deferLater(reactor, 0.1)


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
        """Say it back."""
        self.transport.sendBytesMessage(bytes(data))

    def pongReceived(self, payload: bytes) -> None:
        """Do nothing."""

    def connectionLost(self, reason: Failure) -> None:
        """Print that it is over."""
        print("websocket over", flush=True)


@app.core.route("/core/ws")
def websocket(request: Request) -> WebSocketResource:
    """Upgrade."""
    return WebSocketResource(Echo)


@app.core.route("/core/pid")
def pid(request: Request) -> str:
    """Return which process the core is."""
    return str(os.getpid())
