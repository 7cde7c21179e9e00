"""
TLS handshakes: begun for clients that are still there, a few in each turn of the loop.

A handshake costs a signature, which takes longer than all else that a worker does for
a short connection. A client that sends its hello and leaves costs nothing itself, so a
flood of such would keep all others waiting.
"""

import asyncio
import select
import socket
from collections import OrderedDict, deque
from collections.abc import Hashable

from clusterapp.guards import guarded

#: How many handshakes begin in one turn of the event loop: a signature with an RSA key
#: takes about a millisecond.
_BEGUN_IN_TURN = 1


def has_begun(connection: socket.socket) -> bool:
    """
    Return whether a client has sent the first bytes of its hello, and is still there.

    One that has ended its side behind them cannot complete the handshake.

    :param connection: the socket, which does not block; nothing is taken from it.
    :raise OSError: if the client has gone.
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
    """Wait until there is something to read."""
    came = loop.create_future()
    loop.add_reader(connection, _settle, came)
    try:
        await came
    finally:
        loop.remove_reader(connection)


class HandshakeTurns:
    """
    Spreads the handshakes that could begin over the turns of the event loop.

    Addresses take turns, so that many connections of one do not keep others waiting.

    :param loop: the event loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        #: What waits, by address; the address at the front has the next turn.
        # The first of a plain dictionary is behind all that were taken out of it.
        self._waiting: OrderedDict[Hashable, deque[asyncio.Future[None]]] = (
            OrderedDict()
        )
        self._is_scheduled = False

    async def wait(self, address: Hashable) -> None:
        """
        Wait for a turn.

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
            if not turn.done():  # it may be cancelled
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
    if not came.done():  # it may be cancelled
        came.set_result(None)
