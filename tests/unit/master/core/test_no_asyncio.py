"""asyncio in a master whose reactor has no event loop."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.defer import Deferred
from twisted.internet.selectreactor import SelectReactor
from twisted.logger import Logger, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.master.core.no_asyncio import (
    CURE,
    NoAsyncioError,
    NoLoop,
    explain,
    refuse_asyncio,
)
from tests.unit.fakes import Log


async def later() -> str:
    """Wait for a moment, as asyncio does it."""
    await asyncio.sleep(0.001)
    return "later"


class NoAsyncioTests(SynchronousTestCase):
    """What would wait for ever fails at once."""

    def setUp(self) -> None:
        self.log = Log(self)
        policy = asyncio.get_event_loop_policy()
        before = policy.get_event_loop()
        self.addCleanup(asyncio.set_event_loop, before)
        self.addCleanup(globalLogPublisher.removeObserver, explain)

    def refuse(self) -> None:
        refuse_asyncio(SelectReactor())

    def test_futures_and_tasks(self) -> None:
        self.refuse()
        running = later()
        self.addCleanup(running.close)
        for use in (
            lambda: asyncio.ensure_future(running),
            lambda: asyncio.get_event_loop().create_future(),
            lambda: asyncio.get_event_loop().call_later(1, print),
            asyncio.Future,
        ):
            with self.assertRaisesRegex(NoAsyncioError, "--core isolated"):
                use()

    def test_what_does_not_wait_for_ever(self) -> None:
        """A coroutine may be run to its end, which blocks, in a loop of its own."""
        self.refuse()
        loop = asyncio.get_event_loop()
        self.assertIsInstance(loop, NoLoop)
        self.assertFalse(loop.is_running())
        self.assertFalse(loop.is_closed())
        self.assertEqual(loop.run_until_complete(later()), "later")

    def logged(self, running: Coroutine[Any, Any, Any]) -> None:
        def log(why: Failure) -> None:
            Logger("of.the.application").failure("failed", why)

        Deferred.fromCoroutine(running).addErrback(log)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_words_of_asyncio(self) -> None:
        """What asyncio raises by itself is explained in the log."""

        async def awaits_a_future() -> None:
            loop = asyncio.new_event_loop()
            try:
                await loop.create_future()
            finally:
                loop.close()

        self.refuse()
        for running in (later(), awaits_a_future()):
            self.logged(running)
            self.assertEqual(self.log.lines().pop(), CURE)
        self.assertEqual(self.log.lines(), [CURE, CURE])

    def test_other_errors(self) -> None:
        async def fails() -> None:
            raise RuntimeError("no")

        self.refuse()
        self.logged(fails())
        self.assertEqual(self.log.lines(), [])

    def test_asyncio_reactor(self) -> None:
        """Its loop runs, so it is used."""
        loop = asyncio.new_event_loop()
        self.addCleanup(loop.close)
        reactor = AsyncioSelectorReactor(loop)
        asyncio.set_event_loop(loop)
        refuse_asyncio(reactor)
        self.assertIs(asyncio.get_event_loop(), loop)
