"""The note on errors of coroutines that await futures of asyncio in no task."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.future_note import NOTE, add_future_note
from clusterapp.http.klein.klein_resource import klein_resource
from clusterapp.http.site import ClusterSite
from clusterapp.logs.child import child_event_of
from clusterapp.tracebacks import format_failure
from tests.unit.http.clients import Client


async def sleeps() -> None:
    """Await a future."""
    await asyncio.sleep(0.001)


async def has_timeout() -> None:
    """Ask for the task that it runs in."""
    async with asyncio.timeout(1):
        await asyncio.sleep(0)


def on_loop(call: Callable[[], None]) -> None:
    """Call a function while an event loop runs, in none of its tasks."""
    loop = asyncio.new_event_loop()
    try:
        loop.call_soon(call)
        loop.call_soon(loop.stop)
        loop.run_forever()
    finally:
        loop.close()


class NoteTests(SynchronousTestCase):
    """What is said of an error, and when."""

    def failure_of(self, running: Coroutine[Any, Any, None]) -> Failure:
        """Run a coroutine as Twisted does."""
        failure: Failure = self.failureResultOf(Deferred.fromCoroutine(running))
        return failure

    def test_in_no_task(self) -> None:
        """Once, however often it is logged."""
        found: list[Failure] = []

        def fail() -> None:
            for running in (sleeps(), has_timeout()):
                failure = self.failure_of(running)
                add_future_note(failure.value)
                add_future_note(failure.value)
                found.append(failure)

        on_loop(fail)
        self.assertEqual([format_failure(each).count(NOTE) for each in found], [1, 1])

    def test_no_loop(self) -> None:
        """Then it would be no cure."""
        error = RuntimeError("await wasn't used with future")
        add_future_note(error)
        self.assertNotIn(NOTE, format_failure(Failure(error)))

    def test_other_errors(self) -> None:
        def add() -> None:
            for error in others:
                add_future_note(error)

        others = (
            RuntimeError("no"),
            RuntimeError(["no"]),
            RuntimeError(),
            ValueError("await wasn't used with future"),
        )
        on_loop(add)
        for error in others:
            self.assertFalse(hasattr(error, "__notes__"))

    def test_handler(self) -> None:
        """The note is in the log, and on the exception."""
        app = Klein()

        @app.route("/")
        async def handler(_: object) -> bytes:
            await sleeps()
            return b""

        def ask() -> None:
            clock = Clock()
            client = Client(ClusterSite(clock, klein_resource(app)), clock)
            self.addCleanup(client.goes)
            client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")

        on_loop(ask)
        [failure] = self.flushLoggedErrors(RuntimeError)
        self.assertEqual(failure.value.__notes__, [NOTE])

    def test_background(self) -> None:
        """A child notes it on all else that it logs, as of timers and Deferreds."""
        found: list[str] = []

        def log() -> None:
            failure = self.failure_of(sleeps())
            event = child_event_of({"log_failure": failure}, lambda: None)
            assert event is not None
            found.append(event.traceback)

        on_loop(log)
        self.assertIn(NOTE, found[0])
