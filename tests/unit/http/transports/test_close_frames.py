"""WebSockets of a site that drains, with real sockets on each loop."""

from collections.abc import Callable
from typing import Any

from autobahn.twisted.resource import WebSocketResource as AutobahnResource
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol

# autobahn installs it when it is first used: its files are none of a test's.
from twisted.internet import reactor as _reactor  # noqa: F401
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.web.http import Request as TwistedRequest
from twisted.web.resource import IResource, Resource
from twisted.web.websocket import WebSocketResource
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    CloseConnection,
    Event,
    Request,
    TextMessage,
)

from clusterapp.http.connection_limits import CLOSE_FRAME_SECONDS
from tests.unit.http.native_sites import Client, NativeCase, on_each_loop


class Server:
    """What a kind of server has said and heard; each names itself when it is open."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.say: Callable[[str], None] = self.heard.append


def of_twisted(server: Server, _clock: Clock) -> IResource:
    """Serve with twisted.web.websocket."""

    class Listener:
        @classmethod
        def buildProtocol(cls, request: TwistedRequest) -> "Listener":
            return cls()

        def negotiationStarted(self, transport: Any) -> None:
            server.say = transport.sendTextMessage

        def negotiationFinished(self) -> None: ...

        def textMessageReceived(self, message: str) -> None:
            server.heard.append(message)

        def bytesMessageReceived(self, data: bytes | bytearray) -> None: ...

        def pongReceived(self, payload: bytes) -> None: ...

        def connectionLost(self, reason: object) -> None:
            server.heard.append("over")

    return WebSocketResource(Listener)


def of_autobahn(server: Server, clock: Clock) -> IResource:
    """Serve with autobahn."""

    class Listener(WebSocketServerProtocol):
        def onOpen(self) -> None:
            server.say = lambda text: self.sendMessage(text.encode(), isBinary=False)

        def onMessage(self, payload: bytes, isBinary: bool) -> None:
            server.heard.append(payload.decode())

        def onClose(self, wasClean: bool, code: object, reason: object) -> None:
            server.heard.append("over")

    factory = WebSocketServerFactory(reactor=clock)
    factory.protocol = Listener
    return AutobahnResource(factory)


class Speaker:
    """A client that speaks WebSocket, and answers a close only if it is told to."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._wire = WSConnection(ConnectionType.CLIENT)
        self._events: list[Event] = []

    async def send(self, event: Event) -> None:
        """Send an event."""
        await self.client.send(self._wire.send(event))

    async def begin(self) -> None:
        """Ask for a WebSocket."""
        await self.send(Request("h", "/"))

    async def expect(self, kind: type[Event]) -> Any:
        """Return the next event, which must be of this kind."""
        while not self._events:
            piece = await self.client.some()
            assert piece, "it has been closed"
            self._wire.receive_data(piece)
            self._events += self._wire.events()
        event = self._events.pop(0)
        assert isinstance(event, kind), event
        return event

    async def told_to_come_back(self) -> None:
        """Expect a close, and nothing else."""
        closed = await self.expect(CloseConnection)
        assert closed.code == 1012, closed
        assert not self._events, self._events


class GoodbyeTests(NativeCase):
    """A worker's own WebSockets, with each library that serves them."""

    kinds = (of_twisted, of_autobahn)

    async def open(self, make: Callable[[Server, Clock], IResource]) -> None:
        """Open a WebSocket and exchange one message each way."""
        await self.ask(make)
        await self.speaker.expect(AcceptConnection)
        await self.speaker.send(TextMessage("there"))
        await self.so(lambda: self.server.heard)
        self.server.say("back")
        self.assertEqual((await self.speaker.expect(TextMessage)).data, "back")

    async def ask(self, make: Callable[[Server, Clock], IResource]) -> None:
        """Ask for a WebSocket."""
        self.site.draining = False
        self.serve(make)
        self.speaker = Speaker(await self.client())
        await self.speaker.begin()

    def serve(self, make: Callable[[Server, Clock], IResource]) -> None:
        """Serve a new server's WebSockets at /."""
        self.server = Server()
        self.site.resource = Resource()
        self.site.resource.putChild(b"", make(self.server, self.clock))

    async def closed(self, drained: Deferred[None]) -> None:
        """Expect the end, for the client, the application and the drain."""
        self.assertEqual(await self.speaker.client.some(), b"")
        self.speaker.client.goes()
        await self.so(lambda: drained.called)
        self.assertEqual(self.server.heard[-1], "over")
        self.assertEqual(self.server.heard.count("over"), 1)

    @on_each_loop
    async def test_client_that_answers(self) -> None:
        """It is closed when the client has said so, too: no time passes here."""
        for make in self.kinds:
            await self.open(make)
            drained = self.site.drain()
            await self.speaker.told_to_come_back()
            await self.speaker.send(CloseConnection(1012))
            await self.closed(drained)

    @on_each_loop
    async def test_client_that_does_not(self) -> None:
        """It has two seconds."""
        for make in self.kinds:
            await self.open(make)
            drained = self.site.drain()
            await self.speaker.told_to_come_back()
            await self.later(CLOSE_FRAME_SECONDS - 1.5)
            self.assertFalse(drained.called)
            await self.later(2)
            await self.closed(drained)

    @on_each_loop
    async def test_nothing_behind_a_close(self) -> None:
        """The application may go on; a client must hear no more (RFC 6455, 5.5.1)."""
        for make in self.kinds:
            await self.open(make)
            drained = self.site.drain()
            await self.speaker.told_to_come_back()
            self.server.say("more")
            await self.speaker.send(CloseConnection(1012))
            await self.closed(drained)

    @on_each_loop
    async def test_spread(self) -> None:
        """Until its moment comes it works as before."""
        for make in self.kinds:
            await self.open(make)
            drained = self.site.drain(spread=10.0)
            again = self.site.drain()
            self.server.say("still")
            self.assertEqual((await self.speaker.expect(TextMessage)).data, "still")
            await self.later(10)
            await self.speaker.told_to_come_back()
            await self.speaker.send(CloseConnection(1012))
            await self.closed(drained)
            self.assertTrue(again.called)

    @on_each_loop
    async def test_drained_twice(self) -> None:
        """It is told once."""
        for make in self.kinds:
            await self.open(make)
            drained = self.site.drain()
            self.site.drain()
            await self.speaker.told_to_come_back()
            await self.speaker.send(CloseConnection(1012))
            await self.closed(drained)

    @on_each_loop
    async def test_one_that_begins_in_a_drain(self) -> None:
        """Its client's connection was kept for its next request, which was this."""
        for make in self.kinds:
            self.site.draining = False
            waiting = await self.client()
            await self.turns()
            drained = self.site.drain(spread=1.0)
            self.serve(make)
            self.speaker = Speaker(waiting)
            await self.speaker.begin()
            await self.speaker.expect(AcceptConnection)
            await self.later(2)
            await self.speaker.told_to_come_back()
            await self.speaker.send(CloseConnection(1012))
            await self.closed(drained)

    @on_each_loop
    async def test_client_that_takes_nothing(self) -> None:
        """It is broken off in the end."""
        for make in self.kinds:
            await self.open(make)
            for _ in range(100):
                self.server.say("x" * 100_000)
            drained = self.site.drain()
            await self.later(15)
            await self.so(lambda: not self.site.connections)
            self.assertTrue(drained.called)
            self.assertEqual(self.server.heard.count("over"), 1)
