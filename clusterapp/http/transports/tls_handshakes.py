"""
TLS handshakes: started only for clients still connected, bounded per event-loop turn.

A handshake costs a signature, which takes longer than everything else that a worker
does for a short connection. Sending a hello and disconnecting costs a client nothing,
so a flood of such clients would delay all other clients.
"""

import asyncio
import select
import socket
from collections import OrderedDict, deque
from collections.abc import Hashable

from clusterapp.guards import guarded

#: The number of handshakes started in one turn of the event loop: a signature with an
#: RSA key takes about a millisecond.
_BEGUN_IN_TURN = 1


def has_begun(connection: socket.socket) -> bool:
    """
    Return whether the first bytes of a client hello have arrived.

    A client that has closed its side behind them counts as disconnected, since it
    cannot complete the handshake.

    :param connection: the non-blocking socket; no bytes are consumed.
    :raise OSError: if the client has disconnected.
    """
    try:
        there = connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    if not there or _is_ended(connection):
        raise ConnectionAbortedError
    return True


def _is_ended(connection: socket.socket) -> bool:
    poll = select.poll()
    poll.register(connection, select.POLLRDHUP)
    return bool(poll.poll(0))


async def readable(loop: asyncio.AbstractEventLoop, connection: socket.socket) -> None:
    """Wait until a socket is readable."""
    came = loop.create_future()
    loop.add_reader(connection, _settle, came)
    try:
        await came
    finally:
        loop.remove_reader(connection)


class HandshakeTurns:
    """
    Queue of the handshakes that are ready to start, spread over event-loop turns.

    Client addresses are served round-robin, so that many connections of one address do
    not delay other addresses.

    :param loop: the event loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        #: The waiting handshakes by address; the first address has the next turn.
        # Not a plain dictionary, where finding the first key passes over all the keys
        # that were removed before it.
        self._waiting: OrderedDict[Hashable, deque[asyncio.Future[None]]] = (
            OrderedDict()
        )
        self._is_scheduled = False

    async def wait(self, address: Hashable) -> None:
        """
        Wait until a handshake may start.

        :param address: the client's address.
        """
        turn = self._loop.create_future()
        self._waiting.setdefault(address, deque()).append(turn)
        self._schedule()
        await turn

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._give)

    @guarded("begin TLS handshakes")
    def _give(self) -> None:
        self._is_scheduled = False
        left = _BEGUN_IN_TURN
        while left and self._waiting:
            turn = self._next()
            if not turn.done():  # the future may be cancelled
                turn.set_result(None)
                left -= 1
        if self._waiting:
            self._schedule()

    def _next(self) -> asyncio.Future[None]:
        address, turns = self._waiting.popitem(last=False)
        turn = turns.popleft()
        if turns:
            self._waiting[address] = turns  # behind all other addresses
        return turn


def _settle(came: asyncio.Future[None]) -> None:
    if not came.done():  # the future may be cancelled
        came.set_result(None)
