"""Callbacks whose exceptions end one thing only."""

import asyncio

from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.guards import guarded


class GuardedTests(SynchronousTestCase):
    """A guarded callback."""

    def test_arguments(self) -> None:
        """It is called as it would be without the guard."""
        calls: list[object] = []
        guarded("add")(lambda *args, **kwargs: calls.append((args, kwargs)))(1, two=2)
        self.assertEqual(calls, [((1,), {"two": 2})])

    def test_exception(self) -> None:
        """Its exception is logged, and ends what it is about."""
        ended: list[object] = []

        class Connection:
            @guarded("read", lambda _failure, self, data: ended.append((self, data)))
            def read(self, data: bytes) -> None:
                raise OSError(28, "no space")

        connection = Connection()
        connection.read(b"x")
        self.assertEqual(ended, [(connection, b"x")])
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_logged_otherwise(self) -> None:
        """What it is about may log it, with more than is known here."""
        told: list[object] = []

        class Connection:
            @guarded(
                "read", log=lambda doing, _failure, *args: told.append((doing, *args))
            )
            def read(self, data: bytes) -> None:
                raise OSError(28, "no space")

        connection = Connection()
        connection.read(b"x")
        self.assertEqual(told, [("read", connection, b"x")])

    def test_ending_fails(self) -> None:
        """What fails while it is ended is logged, too."""

        def end(_failure: Failure) -> None:
            raise ValueError

        @guarded("read", end)
        def read() -> None:
            raise KeyError

        read()
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_cancellation(self) -> None:
        """A cancellation is no error."""

        @guarded("wait")
        def wait() -> None:
            raise asyncio.CancelledError

        self.assertRaises(asyncio.CancelledError, wait)
