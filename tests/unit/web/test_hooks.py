"""Start and stop hooks run in order, one at a time, and all of them."""

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.errors import StartHookError
from clusterapp.web.hooks import Hooks


class HooksTests(SynchronousTestCase):
    """Plain functions, Deferreds and coroutines are all hooks."""

    def setUp(self) -> None:
        self.hooks = Hooks()
        self.did: list[str] = []

    def test_without_hooks_there_is_nothing_to_run(self) -> None:
        """An application without hooks starts and stops at once."""
        self.assertFalse(self.hooks)
        self.successResultOf(Deferred.fromCoroutine(self.hooks.run_start()))
        self.successResultOf(Deferred.fromCoroutine(self.hooks.run_stop()))

    def test_one_of_either_kind_is_something_to_run(self) -> None:
        starting, stopping = Hooks(), Hooks()
        starting.on_start(lambda: None)
        stopping.on_stop(lambda: None)
        self.assertTrue(starting)
        self.assertTrue(stopping)

    def test_decorated_function_stays_what_it_is(self) -> None:
        """A hook can still be called by its name."""

        def hook() -> str:
            return "called"

        self.assertIs(self.hooks.on_start(hook), hook)
        self.assertIs(self.hooks.on_stop(hook), hook)

    def test_start_hooks_run_as_they_are_written(self) -> None:
        self.hooks.on_start(lambda: self.did.append("first"))
        self.hooks.on_start(lambda: self.did.append("second"))
        self.successResultOf(Deferred.fromCoroutine(self.hooks.run_start()))
        self.assertEqual(self.did, ["first", "second"])

    def test_next_start_hook_waits_for_a_deferred(self) -> None:
        slow: Deferred[None] = Deferred()
        self.hooks.on_start(lambda: slow)
        self.hooks.on_start(lambda: self.did.append("second"))
        started = Deferred.fromCoroutine(self.hooks.run_start())
        self.assertNoResult(started)
        self.assertEqual(self.did, [])
        slow.callback(None)
        self.successResultOf(started)
        self.assertEqual(self.did, ["second"])

    def test_coroutine_is_awaited(self) -> None:
        slow: Deferred[None] = Deferred()

        @self.hooks.on_start
        async def connect() -> None:
            await slow
            self.did.append("connected")

        started = Deferred.fromCoroutine(self.hooks.run_start())
        self.assertNoResult(started)
        slow.callback(None)
        self.successResultOf(started)
        self.assertEqual(self.did, ["connected"])

    def test_start_ends_with_the_first_failure(self) -> None:
        """What a start hook raises fails the start, and no further hook runs."""

        @self.hooks.on_start
        def fail() -> None:
            raise RuntimeError("no database")

        self.hooks.on_start(lambda: self.did.append("second"))
        started = Deferred.fromCoroutine(self.hooks.run_start())
        error = self.failureResultOf(started, StartHookError).value
        self.assertRegex(
            str(error),
            r"^the start hook tests\.unit\.web\.test_hooks\.\S+\.fail failed:"
            " RuntimeError: no database$",
        )
        self.assertIsInstance(error.__cause__, RuntimeError)
        self.assertEqual(self.did, [])

    def test_stop_during_a_start_hook(self) -> None:
        """The hook is cancelled, and has not failed."""
        self.hooks.on_start(Deferred)
        started = Deferred.fromCoroutine(self.hooks.run_start())
        started.cancel()
        self.failureResultOf(started, CancelledError)

    def test_stop_hooks_run_backwards(self) -> None:
        self.hooks.on_stop(lambda: self.did.append("opened first"))
        self.hooks.on_stop(lambda: self.did.append("opened last"))
        self.successResultOf(Deferred.fromCoroutine(self.hooks.run_stop()))
        self.assertEqual(self.did, ["opened last", "opened first"])

    def test_every_stop_hook_runs_whatever_fails(self) -> None:
        """Failures of stop hooks are logged, with the name of the hook."""
        self.hooks.on_stop(lambda: self.did.append("last"))

        @self.hooks.on_stop
        async def fail_slowly() -> None:
            raise RuntimeError("lost")

        @self.hooks.on_stop
        def fail() -> None:
            raise ValueError("broken")

        self.successResultOf(Deferred.fromCoroutine(self.hooks.run_stop()))
        self.assertEqual(self.did, ["last"])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_cancelled_stop_goes_on_with_the_next_hook(self) -> None:
        """A stop hook that is out of time does not keep the others from running."""
        self.hooks.on_stop(lambda: self.did.append("next"))
        self.hooks.on_stop(Deferred)
        stopped = Deferred.fromCoroutine(self.hooks.run_stop())
        stopped.cancel()
        self.successResultOf(stopped)
        self.assertEqual(self.did, ["next"])
        self.assertEqual(len(self.flushLoggedErrors()), 1)

    def test_bound_hooks_are_methods(self) -> None:
        """Hooks of a class body get the instance, also those declared later."""
        bound = self.hooks.bound_to("instance")
        self.hooks.on_start(self.did.append)
        self.hooks.on_stop(lambda instance: self.did.append(f"{instance} stopped"))
        self.successResultOf(Deferred.fromCoroutine(bound.run_start()))
        self.successResultOf(Deferred.fromCoroutine(bound.run_stop()))
        self.assertEqual(self.did, ["instance", "instance stopped"])
