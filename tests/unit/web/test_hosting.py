"""Serving a site between its application's start and stop hooks."""

import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import trustme
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.channel.inspection import UnderWay
from clusterapp.channel.request_record import RequestRecord
from clusterapp.errors import SettingsError, StartHookError
from clusterapp.http.server.drain_policy import HandOver
from clusterapp.http.site import ClusterSite
from clusterapp.http.upstream.core_agent import IDLE_TIMEOUT
from clusterapp.settings.model import Settings
from clusterapp.web.application import Application
from clusterapp.web.hooks import Hooks
from clusterapp.web.hosting import CORE_SOCKET, Host, check_tls, core_host
from clusterapp.web.loading import load

if TYPE_CHECKING:
    from clusterapp.listening.accept import Acceptor


class Order:
    """A site, its hooks and its acceptor, which write down what they do."""

    requests = active = 0
    request_record: RequestRecord | None = None

    def __init__(self) -> None:
        self.did: list[str] = []
        self.started: Deferred[None] = Deferred()
        self.drained: Deferred[None] = Deferred()
        self.empty: Deferred[None] = Deferred()
        self.clock: Any = Clock()
        hooks = Hooks()
        hooks.on_start(self.on_start)
        hooks.on_stop(lambda: self.did.append("stop hook"))
        self.host = Host(self, hooks, [cast("Acceptor", self)])

    def on_start(self) -> Deferred[None]:
        self.did.append("start hook")
        return self.started

    def under_way(self) -> Sequence[UnderWay]:
        return ()

    def drain(self, *, spread: float, hand_over: HandOver | None) -> Deferred[None]:
        self.did.append("drain")
        return self.drained

    def abort(self) -> None:
        self.did.append("abort")

    def emptied(self) -> Deferred[None]:
        self.did.append("wait for the ends")
        return self.empty

    def start(self) -> None:
        self.did.append("accept")

    def stop(self) -> None:
        self.did.append("refuse")


class HostTests(SynchronousTestCase):
    """What a host does, in its order."""

    def setUp(self) -> None:
        self.order = Order()

    def test_prepare(self) -> None:
        """It has ended when the start hooks have."""
        prepared = Deferred.fromCoroutine(self.order.host.prepare())
        self.assertNoResult(prepared)
        self.order.started.callback(None)
        self.successResultOf(prepared)
        self.order.host.accept()
        self.assertEqual(self.order.did, ["start hook", "accept"])

    def test_start_hook_that_fails(self) -> None:
        prepared = Deferred.fromCoroutine(self.order.host.prepare())
        self.order.started.errback(ZeroDivisionError())
        self.failureResultOf(prepared, StartHookError)

    def test_drain(self) -> None:
        """Stop hooks run when no request needs what they take away."""
        drained = Deferred.fromCoroutine(self.order.host.drain())
        self.assertEqual(self.order.did, ["refuse", "drain"])
        self.assertNoResult(drained)
        self.order.drained.callback(None)
        self.successResultOf(drained)
        self.assertEqual(self.order.did[2:], ["stop hook"])

    def test_drain_whose_time_is_over(self) -> None:
        """What is left is broken off, and the stop hooks run all the same."""
        drained = Deferred.fromCoroutine(self.order.host.drain())
        drained.cancel()
        self.assertNoResult(drained)
        self.assertEqual(self.order.did[2:], ["abort", "wait for the ends"])
        self.order.empty.callback(None)
        self.successResultOf(drained)
        self.assertEqual(self.order.did[4:], ["stop hook"])

    def test_connections_that_do_not_end(self) -> None:
        """They are not waited for longer than a moment."""
        drained = Deferred.fromCoroutine(self.order.host.drain())
        drained.cancel()
        self.order.clock.advance(0.4)
        self.assertNoResult(drained)
        self.order.clock.advance(0.2)
        self.successResultOf(drained)
        self.assertEqual(self.order.did[4:], ["stop hook"])


class CoreCase(SynchronousTestCase):
    """A core's sockets and certificates."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="clusterapp-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.reactor = MemoryReactorClock()
        authority = trustme.CA()
        issued = authority.issue_cert("core.example.org")
        for name, blob in (
            ("ca", authority.cert_pem),
            ("cert", issued.cert_chain_pems[0]),
            ("key", issued.private_key_pem),
        ):
            blob.write_to_path(str(self.folder / name))

    def spec(self, port: int = 0) -> str:
        names = ("certificate", "cert"), ("key", "key"), ("ca", "ca")
        words = ":".join(f"{word}={self.folder / file}" for word, file in names)
        return f"tls:{port}:{words}:interface=127.0.0.1"


class CoreHostTests(CoreCase):
    """What the core serves where."""

    def host(self, app: str, *names: str, **settings: object) -> Any:
        sockets = {}
        for name in (CORE_SOCKET, *names):
            sockets[name] = socket.create_server(("127.0.0.1", 0))
            self.addCleanup(sockets[name].close)
        chosen = Settings(app=app, **settings)  # type: ignore[arg-type]
        loaded = load(chosen.app, None, cast("Any", self.reactor))
        return core_host(self.reactor, loaded, chosen, sockets)

    def test_unix_socket(self) -> None:
        """Workers close an idle connection before the core would, come what may."""
        host = self.host("tests.unit.master.master_apps:plain", keepalive_timeout=1.0)
        [acceptor] = host._sources
        self.assertIsInstance(acceptor._serve.factory, ClusterSite)
        self.assertGreater(
            acceptor._serve.factory.limits.keepalive_timeout, IDLE_TIMEOUT
        )

    def test_tls(self) -> None:
        """The same site, so that one drain empties both."""
        spec = self.spec()
        host = self.host("tests.unit.master.master_apps:plain", spec, core_listen=spec)
        plain, tls = (each._serve.factory for each in host._sources)
        self.assertIsInstance(tls, TLSMemoryBIOFactory)
        self.assertIs(tls.wrappedFactory, plain)
        self.assertIs(tls._clock, self.reactor)

    def test_application_without_a_core(self) -> None:
        """Another cluster may come to it, and hears that there is none."""
        host = self.host("tests.unit.web.test_hosting:nothing")
        [acceptor] = host._sources
        self.assertIn("no core", acceptor._serve.factory.resource._detail)


class CheckTests(CoreCase):
    """The files of TLS, before anything is started."""

    def test_good_files(self) -> None:
        check_tls(self.reactor, Settings(core_listen=self.spec()))
        check_tls(self.reactor, Settings(listen=self.spec()))
        check_tls(
            self.reactor,
            Settings(core="https://core", core_ca=str(self.folder / "ca")),
        )
        check_tls(self.reactor, Settings())

    def test_bad_files(self) -> None:
        (self.folder / "ca").write_bytes(b"")
        for settings in (
            Settings(core_listen=self.spec()),
            Settings(listen=self.spec()),
            Settings(core="https://core", core_ca=str(self.folder / "ca")),
        ):
            error = self.assertRaises(SettingsError, check_tls, self.reactor, settings)
            self.assertIn(str(self.folder / "ca"), str(error))


def nothing() -> Application:
    """Make an application that has nothing for a core to do."""
    return Application()
