"""Resources that upgrade connections, and protocols that record what they receive."""

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request
from zope.interface import implementer

from tests.unit.http.websockets import HANDSHAKE

ASK = b"GET /ws HTTP/1.1\r\nHost: h\r\nX-Request-ID: r-1\r\n"
WEBSOCKET = ASK + HANDSHAKE + b"\r\n"
RAW = ASK + b"Connection: Upgrade\r\nUpgrade: x\r\n\r\n"

#: What the log says of it.
FACTS = "GET /ws (client 192.168.1.1, request id r-1)"


class Hearing(Protocol):
    """Writes down what it hears."""

    transport: Any

    def __init__(self) -> None:
        self.heard: list[bytes | str] = []

    def dataReceived(self, data: bytes) -> None:
        self.heard.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.heard.append("lost")


@implementer(IPushProducer)
class Failing(Hearing):
    """Raises where it is told to."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where

    def connectionMade(self) -> None:
        self._raise("makeConnection")

    def dataReceived(self, data: bytes) -> None:
        self._raise("dataReceived")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.heard.append("lost")
        self._raise("connectionLost")

    def pauseProducing(self) -> None:
        self._raise("pauseProducing")

    def resumeProducing(self) -> None:
        self._raise("resumeProducing")

    def stopProducing(self) -> None: ...

    def _raise(self, where: str) -> None:
        if where in self.where.split():
            raise RuntimeError(f"not my day: {where}")


class Upgrading(Resource):
    """Upgrades as twisted.web.websocket does, or as autobahn."""

    isLeaf = True

    def __init__(self, make: Callable[[], Hearing], *, takes: bool) -> None:
        super().__init__()
        self.made: list[Hearing] = []
        self._make = make
        self._takes = takes

    def render(self, request: Request) -> int:
        protocol = self._make()
        self.made.append(protocol)
        channel: Any = request.channel
        if self._takes:
            transport, channel.transport = channel.transport, None
            transport.protocol = protocol
            protocol.makeConnection(transport)
            transport.resumeProducing()
        else:
            transport = channel.transport
            channel._protocolUpgradeForWebsockets(protocol)
        transport.write(b"101")
        return NOT_DONE_YET
