"""Which reactors a master can run on."""

import asyncio
import signal
from unittest import skipIf

from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.interfaces import IReactorFDSet, IReactorSocket
from twisted.internet.pollreactor import PollReactor
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.testing import MemoryReactor
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from clusterapp.errors import ReactorError
from clusterapp.master.reactor_check import check_reactor, check_signals

try:
    import uvloop
except ImportError:
    uvloop = None  # type: ignore[assignment]


def close(reactor: object) -> None:
    """Close what a reactor opens when it is made."""
    reactor.removeAll()  # type: ignore[attr-defined]
    for each in (*reactor._internalReaders,):  # type: ignore[attr-defined]
        each.connectionLost(None)
    poller = getattr(reactor, "_poller", None)
    if hasattr(poller, "close"):
        poller.close()  # type: ignore[union-attr]


class ReactorTests(SynchronousTestCase):
    """Reactors as programs have them."""

    def on_loop(self, loop: asyncio.AbstractEventLoop) -> AsyncioSelectorReactor:
        self.addCleanup(loop.close)
        reactor = AsyncioSelectorReactor(loop)
        self.addCleanup(close, reactor)
        return reactor

    def test_twisteds_own(self) -> None:
        for kind in (EPollReactor, PollReactor, SelectReactor):
            reactor = kind()
            self.addCleanup(close, reactor)
            check_reactor(reactor)

    def test_asyncios_own_loop(self) -> None:
        check_reactor(self.on_loop(asyncio.SelectorEventLoop()))

    @skipIf(uvloop is None, "uvloop is not there")
    def test_uvloop(self) -> None:
        """The line says what is wrong, and what to do."""
        reactor = self.on_loop(uvloop.new_event_loop())
        error = self.assertRaises(ReactorError, check_reactor, reactor)
        self.assertRegex(
            str(error), "uvloop.Loop does not let Twisted see child processes.*epoll"
        )

    def test_without_processes(self) -> None:
        @implementer(IReactorSocket, IReactorFDSet)
        class Childless(MemoryReactor):
            pass

        error = self.assertRaises(ReactorError, check_reactor, Childless())
        self.assertIn("Childless does not provide IReactorProcess", str(error))


class SignalTests(SynchronousTestCase):
    """Whether the reactor hears of its children's exits."""

    def test_no_handler(self) -> None:
        for handler in (signal.SIG_DFL, signal.SIG_IGN):
            self.patch(signal, "getsignal", lambda _, found=handler: found)
            refused: list[ReactorError] = []
            check_signals(refused.append)
            self.assertIn("installSignalHandlers", str(refused[0]))

    def test_handler(self) -> None:
        """One of Python's, or one that Python knows nothing of."""
        for handler in (print, None):
            self.patch(signal, "getsignal", lambda _, found=handler: found)
            check_signals(lambda error: self.fail(str(error)))
