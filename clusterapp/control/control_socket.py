"""The control socket (in the master)."""

import os
import socket
from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from clusterapp.control.api import ControlApi
from clusterapp.control.peer_credentials import peer_of
from clusterapp.control.socket_path import bind, bind_beside, take_over
from clusterapp.http.connection_limits import Limits
from clusterapp.http.klein.klein_resource import klein_resource
from clusterapp.http.site import ClusterSite
from clusterapp.listening.accept import Acceptor, ConnectionAdopter
from clusterapp.listening.listen_sockets import Listener
from clusterapp.operations import Operations
from clusterapp.settings.stop_time import CONTROL

#: The longest body of a request to the control API, in bytes.
_LONGEST_BODY = 64 * 1024


def own_users() -> frozenset[int]:
    """Return the users that may control this process: root, and its own user."""
    return frozenset((0, os.geteuid()))


class CredentialCheck:
    """
    Serves only connections of users that may control the master; called by an
    `Acceptor`.

    The socket's mode already excludes other users, as long as it is not changed.

    :param serve: serves a connection.
    :param users: returns the ids of the users that are served.
    """

    _log = Logger()

    def __init__(
        self,
        serve: Callable[[socket.socket, Any], object],
        users: Callable[[], frozenset[int]] = own_users,
    ) -> None:
        self._serve = serve
        self._users = users

    def __call__(self, connection: socket.socket, address: Any) -> None:
        """Serve a connection, or close it if its user may not control the master."""
        peer = peer_of(connection)
        if peer.uid in self._users():
            self._serve(connection, address)
            return
        self._log.warn(
            "the control socket refuses process {pid} of user {uid}",
            pid=peer.pid,
            uid=peer.uid,
        )
        connection.close()


class ControlService(Service):
    """
    A service of the control API on a Unix socket.

    :param reactor: the master's reactor.
    :param operations: the cluster.
    :param path: the path of the socket.
    :param replace: whether to take the path over from a running master, as the new one
        does in an upgrade: call `bind` before the upgrade is certain to succeed, and
        start the service afterwards.
    """

    name = "control"

    def __init__(
        self, reactor: Any, operations: Operations, path: str, *, replace: bool = False
    ) -> None:
        self._reactor = reactor
        self._api = ControlApi(operations)
        self._path = path
        self._replace = replace
        self._bound: Listener | None = None
        self._open: _ServedSocket | None = None

    def bind(self) -> None:
        """
        Bind the socket without serving it yet.

        If it takes the path over from a running master, it is not at that path yet.

        :raise ListenError: if the path cannot be bound.
        """
        if self._bound is None:
            made = bind_beside if self._replace else bind
            self._bound = made(self._path)

    def startService(self) -> None:
        """
        Start serving.

        :raise ListenError: if the path cannot be bound.
        """
        self.bind()
        listener, self._bound = self._bound, None
        assert listener is not None  # noqa: S101 - it is bound
        if self._replace:
            listener = take_over(listener, self._path)
        super().startService()
        self._open = _ServedSocket(self._reactor, self._api, listener)

    def stopService(self) -> Deferred[None] | None:
        """
        Stop listening, and let the responses under way finish.

        :return: fires when the last connection is closed, after a few seconds at the
            latest.
        """
        super().stopService()
        if self._bound is not None:
            self._bound.close()
            self._bound = None
        opened, self._open = self._open, None
        return None if opened is None else opened.close()


class _ServedSocket:
    """A control socket that is being served."""

    def __init__(self, reactor: Any, api: ControlApi, listener: Listener) -> None:
        self._reactor = reactor
        self._listener = listener
        self._site = ClusterSite(
            reactor, klein_resource(api.app), limits=Limits(body=_LONGEST_BODY)
        )
        # Log events of an operation are about the cluster; with the request they would
        # look like events of a request to the application.
        self._site.names_requests = False
        self._acceptor = Acceptor(
            reactor,
            listener.socket,
            CredentialCheck(ConnectionAdopter(reactor, self._site)),
        )
        self._acceptor.start()

    def close(self) -> Deferred[None]:
        """Stop accepting; abort responses that do not finish in time."""
        self._acceptor.stop()
        self._listener.close()
        late = self._reactor.callLater(CONTROL, self._site.abort)
        return self._site.drain().addCallback(lambda _: _cancel(late))


def _cancel(late: Any) -> None:
    if late.active():
        late.cancel()
