"""Every callback of an event loop, a reactor or a transport is guarded."""

import ast
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.unit.test_layers import MODULES, PACKAGE, parse

_BY_OWNER = "called by a guarded connection"
_CALLS = "calls what is guarded"
_LATER = "notes what is told to a connection or stream later"

#: What schedules a callback, and where that stands among its arguments.
SCHEDULERS = {
    "LoopingCall": 0,
    "add_done_callback": 0,
    "add_reader": 1,
    "add_signal_handler": 1,
    "add_writer": 1,
    "callFromThread": 0,
    "callLater": 1,
    "callWhenRunning": 0,
    "call_later": 1,
    "call_soon": 0,
    "call_soon_threadsafe": 0,
}
#: What event loops, reactors and transports call by name.
CALLED_BY_NAME = {
    "childConnectionLost",
    "childDataReceived",
    "connectionLost",
    "connectionMade",
    "connection_lost",
    "connection_made",
    "dataReceived",
    "data_received",
    "doRead",
    "eof_received",
    "handshakeCompleted",
    "lineReceived",
    "pause_writing",
    "processEnded",
    "processExited",
    "resume_writing",
    "timeoutConnection",
}
#: What makes a guard, and guards that have names.
GUARDS = {"guarded", "keeps_watching"}
NAMED_GUARDS = {"ends_connection"}

#: Those that need none, and why.
EXEMPT = {
    "channel.protocol:ChannelEnd.connectionMade": "AMP's own; calls nothing of ours",
    "control.control_socket:self._site.abort": "aborts guarded connections",
    "demo:self._connect": "returns a Deferred, whose errback begins anew",
    "system.forks:end_fork": "ends the process, whatever it raises",
    "system.forks:function": "the loop's own way to call it, but in a fork",
    "http.transports.tls_handshakes:_settle": "sets the result of a future",
    "http.upstream.tunnel:_BridgeEnd.connectionMade": _BY_OWNER,
    "http.upstream.tunnel:_BridgeEnd.dataReceived": _BY_OWNER,
    "http.upstream.tunnel:_BridgeEnd.connectionLost": _BY_OWNER,
    "http.server.request_context:_ProtocolInContext.connectionLost": _BY_OWNER,
    "http.server.request_context:_ProtocolInContext.dataReceived": _BY_OWNER,
    "http.transports.inline_transport:TransportEvents.connection_lost": _LATER,
    "http.transports.inline_transport:TransportEvents.connection_made": _LATER,
    "http.transports.inline_transport:TransportEvents.data_received": _LATER,
    "http.transports.inline_transport:TransportEvents.eof_received": _LATER,
    "http.connection.protocol_upgrade:self.connection.drain": _CALLS,
    "http.connection.request_input:self._take_turn": _CALLS,
    "http.transports.asyncio_adapter:AsyncioAdapter.eof_received": _CALLS,
    "http.transports.asyncio_adapter:AsyncioAdapter.pause_writing": _CALLS,
    "http.transports.asyncio_adapter:callback": "it is guarded where it is given",
    "http.transports.twisted_adapter:TwistedAdapter.connectionLost": _CALLS,
    "http.transports.twisted_adapter:callback": "it is guarded where it is given",
    "http.upstream.unix_client:_Carrier.data_received": _LATER,
    "listening.socket_watching:Watching.connectionLost": "does nothing",
    "listening.socket_watching:Watching.doRead": "not implemented here",
    "master.distribution.agent_check:func": _CALLS,
    "master.distribution.request_peek:_PeekedConnection.connectionLost": "does nothing",
    "master.signal_handlers:self._install": "the start of a program, which it ends",
    "master.service:check_signals": "the start of a program, which it ends",
    "tap:self._stop": "the end of a program",
    "web.wsgi.wsgi_response:self._completed": "answers what it raises with `_failed`",
    "worker.proxy.proxied_request:Relayed.connectionLost": _BY_OWNER,
    "worker.proxy.proxied_request:Relayed.connectionMade": _BY_OWNER,
    "worker.proxy.proxied_request:Relayed.dataReceived": _BY_OWNER,
    "worker.loop_readers:reader.doRead": "each kind guards its own",
    "worker.child_program:child.start": "the start of a program, which it ends",
    "worker.child_program:drained.cancel": "a Deferred's own",
}


def is_guard(node: ast.expr, named: set[str]) -> bool:
    """Return whether an expression is a guard: what decorates, or wraps, a callback."""
    if isinstance(node, ast.Call):
        return is_guard(node.func, named) or getattr(node.func, "id", "") in GUARDS
    return getattr(node, "id", "") in named


class Module:
    """One module of the package."""

    def __init__(self, path: Path) -> None:
        self._tree = parse(path)
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        self._name = ".".join(part for part in parts if part != "__init__")
        self._guards = NAMED_GUARDS | {
            target.id
            for node in ast.walk(self._tree)
            if isinstance(node, ast.Assign) and is_guard(node.value, set())
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        self._guarded = {
            node.name
            for node in ast.walk(self._tree)
            if isinstance(node, ast.FunctionDef)
            and any(is_guard(each, self._guards) for each in node.decorator_list)
        }

    def unguarded(self) -> Iterator[str]:
        """Return the callbacks of this module that no guard is seen of."""
        for node in ast.walk(self._tree):
            if isinstance(node, ast.Call):
                yield from self._scheduled(node)
            if isinstance(node, ast.ClassDef):
                for method in node.body:
                    if (
                        isinstance(method, ast.FunctionDef)
                        and method.name in CALLED_BY_NAME - self._guarded
                    ):
                        yield f"{self._name}:{node.name}.{method.name}"

    def _scheduled(self, call: ast.Call) -> Iterator[str]:
        name = getattr(call.func, "attr", getattr(call.func, "id", ""))
        place = SCHEDULERS.get(name)
        if place is None or len(call.args) <= place:
            return
        callback = call.args[place]
        if isinstance(callback, ast.Call) and _name_of(callback.func) == "partial":
            callback = callback.args[0]
        if isinstance(callback, ast.Lambda) and isinstance(callback.body, ast.Call):
            callback = callback.body.func
        is_known = _name_of(callback) in self._guarded
        if not (is_known or is_guard(callback, self._guards)):
            yield f"{self._name}:{ast.unparse(callback)}"


def _name_of(node: ast.expr) -> str:
    name: str = getattr(node, "attr", getattr(node, "id", ""))
    return name


class GuardedCallbackTests(SynchronousTestCase):
    """One way to keep exceptions within what they are about, and no exception to it."""

    def test_all(self) -> None:
        """A callback without a guard needs a reason."""
        found = {name for path in MODULES for name in Module(path).unguarded()}
        self.assertEqual(sorted(found - EXEMPT.keys()), [])
        self.assertEqual(sorted(EXEMPT.keys() - found), [])
