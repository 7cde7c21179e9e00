"""A child process without the process, and the master that it answers to."""

import gc
import os
import signal
import socket
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.error import ReactorNotRunning
from twisted.test.iosim import FakeTransport, IOPump
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.channel.bootstrap import CONTROL_FD, Bootstrap
from clusterapp.channel.ends import MasterEnd
from clusterapp.interfaces import Role
from clusterapp.settings.model import Settings
from clusterapp.web.hosting import CORE_SOCKET
from clusterapp.worker import child_program as service
from clusterapp.worker.child_program import ChildProgram
from clusterapp.worker.worker_site import serve
from tests.unit.fakes import FakeReactor, Master
from tests.unit.master import master_apps
from tests.unit.worker.inherited import inherited

PLAIN = "tests.unit.master.master_apps:plain"
WORKER = "tests.unit.master.master_apps:worker_hooks"


def make_bootstrap(
    role: Role,
    listening: socket.socket,
    add_cleanup: Callable[..., Any],
    **more: Any,
) -> Bootstrap:
    """Make what a child in slot 3 is told, with what its role inherits."""
    given: Mapping[str, Any] = (
        inherited(listening, add_cleanup)
        if role == "worker"
        else {"sockets": {CORE_SOCKET: listening.dup().detach()}}
    )
    return Bootstrap(
        role=role,
        slot=3,
        settings={},
        core_socket="/nowhere/core.sock",
        **given,
        **more,
    )


class ChildReactor(FakeReactor):
    """A child's reactor, which its program stops."""

    def __init__(self) -> None:
        super().__init__()
        self.stopped = False

    def stop(self) -> None:
        if self.stopped:
            raise ReactorNotRunning
        self.stopped = True

    def callFromThread(self, call: Callable[[], object]) -> None:
        call()


class ChildCase(SynchronousTestCase):
    """A child whose control channel ends in a master in memory."""

    def setUp(self) -> None:
        master_apps.forget()
        self.reactor = ChildReactor()
        self.master = Master()
        self.handlers: dict[int, Any] = {}
        self.closed: list[int] = []
        #: How often the child had said that it is ready when it froze its objects.
        self.frozen: list[int] = []
        self.access_log: str | None = None
        self.patch(signal, "signal", self.handlers.__setitem__)
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.listening.close)

    def begin(
        self,
        app: str = PLAIN,
        role: Role = "worker",
        cache: str | None = None,
        *,
        as_canary: bool = False,
        **settings: Any,
    ) -> ChildProgram:
        """Start a child, up to where it waits for something."""
        bootstrap = make_bootstrap(
            role,
            self.listening,
            self.addCleanup,
            generation=1,
            cache=cache,
            access_log=self.access_log,
            as_canary=as_canary,
        )
        chosen = Settings(app=app, graceful_timeout=5, **settings)
        self.child = ChildProgram(self.reactor, bootstrap, chosen)
        # Else what the test leaves behind would stay for ever.
        self.patch(gc, "freeze", lambda: self.frozen.append(self.master.readies))
        self.patch(service, "serve", self.serve)
        self.patch(os, "close", self.close)
        self.patch(self.reactor, "adoptStreamConnection", self.adopt)
        self.child.start()
        self.pump.flush()
        return self.child

    def serve(self, *arguments: Any) -> Any:
        """Close in the end what the child's process would take with it."""
        host, served = serve(*arguments)
        self.addCleanup(host.refuse)
        return host, served

    def close(self, descriptor: int) -> None:
        """Note what the child closes: these are numbers of the test's process."""
        self.closed.append(descriptor)

    def adopt(self, fd: int, family: int, factory: Any) -> None:
        """Connect the child's end to the master's."""
        self.assertEqual((fd, family), (CONTROL_FD, socket.AF_UNIX))
        near, far = factory.buildProtocol(None), MasterEnd(self.master)
        transports = FakeTransport(near, False), FakeTransport(far, True)
        near.makeConnection(transports[0])
        far.makeConnection(transports[1])
        self.far = far
        self.pump = IOPump(near, far, *transports, False)
