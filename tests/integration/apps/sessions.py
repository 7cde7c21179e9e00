"""An application that keeps its sessions in the memory of a worker."""

import json
import os
from collections import deque
from typing import Any
from uuid import uuid4

from twisted.internet.defer import Deferred
from twisted.web.http import Request
from twisted.web.resource import IResource, NoResource
from twisted.web.websocket import WebSocketResource, WebSocketTransport

from clusterapp import Application

app = Application(static="sessions_static")


@app.core.route("/core")
def core(request: Request) -> str:
    """Answer in the core."""
    return "core"


@app.route("/")
def root(request: Request) -> str:
    """Answer the health check."""
    return "well"


@app.route("/where")
def where(request: Request) -> str:
    """Return the worker that answers, the client it sees, and the connection."""
    return _answer(request)


@app.route("/echo", methods=["POST"])
def echo(request: Request) -> str:
    """Return so, and what has come."""
    body = request.content
    assert body is not None
    return _answer(request, body=body.read().decode("utf-8"))


class Session:
    """What a client has asked for, of which nobody else knows."""

    def __init__(self) -> None:
        self._messages: deque[str] = deque()
        self._poll: Deferred[str] | None = None

    def put(self, message: str) -> None:
        """Send a message in the open poll's response, or queue it for the next poll."""
        poll, self._poll = self._poll, None
        if poll is None:
            self._messages.append(message)
        else:
            poll.callback(message)

    async def take(self) -> str:
        """Return the next message, as soon as there is one."""
        if self._messages:
            return self._messages.popleft()
        self._poll = Deferred()
        return await self._poll


SESSIONS: dict[str, Session] = {}


@app.route("/poll", methods=["GET"])
async def poll(request: Request) -> str:
    """Begin a session; or wait for a message, if the target names one."""
    if b"sid" not in request.args:
        sid = uuid4().hex
        SESSIONS[sid] = Session()
        return _answer(request, sid=sid)
    session = _session(request)
    if session is None:
        return _unknown(request)
    return _answer(request, message=await session.take())


@app.route("/poll", methods=["POST"])
def post(request: Request) -> str:
    """Take a message, and have it polled."""
    session = _session(request)
    if session is None:
        return _unknown(request)
    body = request.content
    assert body is not None
    session.put(body.read().decode("utf-8"))
    return _answer(request)


@app.route("/socket")
def socket(request: Request) -> IResource:
    """Go on with a session as a WebSocket."""
    if _session(request) is None:
        return NoResource()
    return WebSocketResource(Numbered)


class Numbered:
    """Says everything back, behind the number of the slot."""

    @classmethod
    def buildProtocol(cls, request: Any) -> "Numbered":
        """Make one for a connection."""
        return cls()

    def negotiationStarted(self, transport: WebSocketTransport) -> None:
        """Keep the transport."""
        self.transport = transport

    def negotiationFinished(self) -> None:
        """Do nothing yet."""

    def textMessageReceived(self, message: str) -> None:
        """Say it back."""
        self.transport.sendTextMessage(f"{app.cluster.slot} {message}")

    def bytesMessageReceived(self, data: bytes | bytearray) -> None:
        """Do nothing."""

    def pongReceived(self, payload: bytes) -> None:
        """Do nothing."""

    def connectionLost(self, reason: object) -> None:
        """Do nothing."""


def _session(request: Request) -> Session | None:
    sid = request.args.get(b"sid", [b""])[0].decode("ascii")
    return SESSIONS.get(sid)


def _unknown(request: Request) -> str:
    request.setResponseCode(400)
    return "this worker knows of no such session"


def _answer(request: Request, **more: str) -> str:
    # Whoever has connected, which need not be the client.
    peer = request.channel.getPeer()
    about = {
        "slot": app.cluster.slot,
        "pid": os.getpid(),
        "client": request.getClientAddress().host,
        "connection": f"{peer.host} {peer.port}",
    }
    return json.dumps(about | more)
