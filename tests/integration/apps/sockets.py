"""WebSockets in a worker: Twisted's and autobahn's, by Klein and without."""

from typing import Any

from autobahn.twisted.resource import WebSocketResource as AutobahnResource
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.python.failure import Failure
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.websocket import WebSocketResource, WebSocketTransport

from clusterapp import Application

app = Application()

#: The message on which a server closes.
BYE = "bye"


class Echo:
    """Twisted's: says everything back."""

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
        """Say it back, or close."""
        if message == BYE:
            self.transport.loseConnection(code=1000)
        else:
            self.transport.sendTextMessage(message)

    def bytesMessageReceived(self, data: bytes | bytearray) -> None:
        """Say it back."""
        self.transport.sendBytesMessage(bytes(data))

    def pongReceived(self, payload: bytes) -> None:
        """Do nothing."""

    def connectionLost(self, reason: Failure) -> None:
        """Print that it is over."""
        print("websocket over", flush=True)


class AutobahnEcho(WebSocketServerProtocol):
    """autobahn's: says everything back."""

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """Say it back, or close."""
        if payload == BYE.encode():
            self.sendClose(1000)
        else:
            self.sendMessage(payload, isBinary)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """Print that it is over."""
        print("websocket over", flush=True)


def autobahn() -> AutobahnResource:
    """Make autobahn's resource."""
    factory = WebSocketServerFactory()
    factory.protocol = AutobahnEcho
    return AutobahnResource(factory)


OF_AUTOBAHN = autobahn()


@app.route("/twisted")
def by_twisted(request: Request) -> WebSocketResource:
    """Upgrade."""
    return WebSocketResource(Echo)


@app.route("/autobahn")
def by_autobahn(request: Request) -> AutobahnResource:
    """Upgrade."""
    return OF_AUTOBAHN


#: The same as plain resources, to be served without Klein.
root = Resource()
root.putChild(b"twisted", WebSocketResource(Echo))
root.putChild(b"autobahn", OF_AUTOBAHN)
