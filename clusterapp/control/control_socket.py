"""The control socket, in the master."""

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
from clusterapp.http.klein.klein_resource import klein_resource
from clusterapp.http.limits import Limits
from clusterapp.http.server.site import ClusterSite
from clusterapp.listening.accept import Acceptor, ConnectionAdopter
from clusterapp.listening.listen_sockets import Listener
from clusterapp.operations import Operations

#: Seconds that responses under way may take once the service stops: the verdict of
#: a stop is among them.
LAST_WORDS = 3.0

#: No request to the control API needs more, in bytes.
_LONGEST_BODY = 64 * 1024


def own_users() -> frozenset[int]:
    """Tell who may control this process: root, and the user that it runs as."""
    return frozenset((0, os.geteuid()))


class Door:
    """
    Lets in only those who may control the master; an `Acceptor` calls it.

    The socket's mode keeps everybody else out already, as long as nobody changes it.

    :param serve: serves a connection.
    :param users: tells the users that are served.
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
        """Serve a connection, or close it."""
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
    Serve the control API on a Unix socket, from start to stop.

    :param reactor: the master's reactor.
    :param operations: the cluster.
    :param path: where the socket is to be.
    :param replace: whether to take the path from a living master, as the new one
        does in an upgrade: `bind` the socket before that is certain to go on, and
        start the service then.
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
        self._open: _Open | None = None

    def bind(self) -> None:
        """
        Have the socket, and serve nobody yet.

        One that takes the path from a living master is not found there so far.

        :raise ListenError: if the path cannot be had.
        """
        if self._bound is None:
            made = bind_beside if self._replace else bind
            self._bound = made(self._path)

    def startService(self) -> None:
        """
        Listen.

        :raise ListenError: if the path cannot be had.
        """
        self.bind()
        listener, self._bound = self._bound, None
        assert listener is not None  # noqa: S101 - it is bound
        if self._replace:
            listener = take_over(listener, self._path)
        super().startService()
        self._open = _Open(self._reactor, self._api, listener)

    def stopService(self) -> Deferred[None] | None:
        """
        Listen no more, and let responses that are under way end.

        :return: fires when the last connection is closed, after a few seconds at the
            latest.
        """
        super().stopService()
        if self._bound is not None:
            self._bound.close()
            self._bound = None
        opened, self._open = self._open, None
        return None if opened is None else opened.close()


class _Open:
    """A control socket that is served."""

    def __init__(self, reactor: Any, api: ControlApi, listener: Listener) -> None:
        self._reactor = reactor
        self._listener = listener
        self._site = ClusterSite(
            reactor, klein_resource(api.app), limits=Limits(body=_LONGEST_BODY)
        )
        # What an operation logs is about the cluster, and would look as if it were
        # about a request of the application's.
        self._site.names_requests = False
        self._acceptor = Acceptor(
            reactor, listener.socket, Door(ConnectionAdopter(reactor, self._site))
        )
        self._acceptor.start()

    def close(self) -> Deferred[None]:
        """Accept no more; break off what is not finished in time."""
        self._acceptor.stop()
        self._listener.close()
        late = self._reactor.callLater(LAST_WORDS, self._site.abort)
        return self._site.drain().addCallback(lambda _: _cancel(late))


def _cancel(late: Any) -> None:
    if late.active():
        late.cancel()
