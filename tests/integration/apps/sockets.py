"""WebSockets in a worker: Twisted's and autobahn's, by Klein and without."""

import os
from typing import Any

from autobahn.twisted.resource import WebSocketResource as AutobahnResource
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.compress import PerMessageDeflateOfferAccept
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from twisted.web.http import Request
from twisted.web.iweb import IRequest
from twisted.web.resource import Resource
from twisted.web.websocket import WebSocketResource, WebSocketTransport
from zope.interface import implementer

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


def deflating() -> AutobahnResource:
    """Make autobahn's resource for compressed messages, with no bound of its own."""
    factory = WebSocketServerFactory()
    factory.protocol = AutobahnEcho
    factory.setProtocolOptions(
        # Otherwise it drops the connection without a word.
        failByDrop=False,
        perMessageCompressionAccept=accept_deflate,
    )
    return AutobahnResource(factory)


def accept_deflate(offers: list[Any]) -> PerMessageDeflateOfferAccept:
    """Accept the first offer."""
    return PerMessageDeflateOfferAccept(offers[0])


DEFLATING = deflating()


@app.route("/deflating")
@app.core.route("/core/deflating")
def by_deflating(request: Request) -> AutobahnResource:
    """Upgrade, with compression if the client offers it."""
    return DEFLATING


@app.core.route("/core/twisted")
def of_core_by_twisted(request: Request) -> WebSocketResource:
    """Upgrade, in the core."""
    return WebSocketResource(Echo)


@app.core.route("/core/autobahn")
def of_core_by_autobahn(request: Request) -> AutobahnResource:
    """Upgrade, in the core."""
    return OF_AUTOBAHN


@implementer(IPushProducer)
class Paced(Echo):
    """Twisted's, with a producer of its own; it prints what it is told."""

    def negotiationFinished(self) -> None:
        """Follow the client's pace, and write whatever it is."""
        self.transport.attachProducer(self)

    def pauseProducing(self) -> None:
        """Print it."""
        print("paced: pause", flush=True)

    def resumeProducing(self) -> None:
        """Print it."""
        print("paced: resume", flush=True)

    def stopProducing(self) -> None:
        """Do nothing."""


@app.route("/paced")
def paced(request: Request) -> WebSocketResource:
    """Upgrade, with a producer."""
    return WebSocketResource(Paced)


class Failing(Echo):
    """Twisted's: fails where a message says so, and at the end."""

    def textMessageReceived(self, message: str) -> None:
        """Fail."""
        raise RuntimeError("failed at a message")

    def connectionLost(self, reason: Failure) -> None:
        """Fail as well."""
        print("websocket over", flush=True)
        raise RuntimeError("failed at the end")


class FailingAtStart(Echo):
    """Twisted's: fails before it has begun."""

    def negotiationStarted(self, transport: WebSocketTransport) -> None:
        """Fail."""
        raise RuntimeError("failed at the start")


@app.route("/failing")
@app.core.route("/core/failing")
def failing(request: Request) -> WebSocketResource:
    """Upgrade."""
    return WebSocketResource(Failing)


@app.route("/failing-at-start")
@app.core.route("/core/failing-at-start")
def failing_at_start(request: Request) -> WebSocketResource:
    """Upgrade."""
    return WebSocketResource(FailingAtStart)


@app.handle_errors(RuntimeError)
def apologize(request: IRequest, failure: Failure) -> str:
    """Answer in HTTP, which no WebSocket is."""
    return "sorry"


@app.core.route("/core/pid")
def pid(request: Request) -> str:
    """Return which process the core is."""
    return str(os.getpid())


@app.route("/slot")
def slot(request: Request) -> str:
    """Return which worker answers."""
    return str(app.cluster.slot)


#: The same as plain resources, to be served without Klein.
root = Resource()
root.putChild(b"twisted", WebSocketResource(Echo))
root.putChild(b"autobahn", OF_AUTOBAHN)
