"""Tracebacks: what Python prints, bounded in length and in work."""

import time
import traceback
from collections.abc import Callable, Generator
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from clusterapp import tracebacks
from clusterapp.tracebacks import (
    LONGEST_TRACEBACK,
    format_error,
    format_failure,
    summary_of,
)


def raised(call: Callable[[], object]) -> BaseException:
    """Return what a call raises."""
    try:
        call()
    except BaseException as error:  # noqa: BLE001 - whatever it is
        return error
    raise AssertionError("nothing was raised")


def printed(call: Callable[[], object]) -> tuple[str, str]:
    """Return what Python prints of what a call raises, and what is formatted."""
    error = raised(call)
    python = "".join(traceback.format_exception(error))
    failure = Failure(error)
    assert format_error(error, error.__traceback__) == format_failure(failure)
    return python, format_failure(failure)


def with_cause() -> None:
    """Raise an error from another."""
    try:
        _ = dict[str, int]()["stock"]
    except KeyError as error:
        raise RuntimeError("cannot ship") from error


def with_context() -> None:
    """Raise an error while another is handled."""
    try:
        with_cause()
    except RuntimeError:
        raise OSError("cannot tell")  # noqa: B904 - that is what is tested


def without_context() -> None:
    """Raise an error that hides its context."""
    try:
        with_cause()
    except RuntimeError:
        raise OSError("alone") from None


def with_group() -> None:
    """Raise a group with notes, from another error."""
    errors = [raised(with_cause), ValueError("b")]
    error = BaseExceptionGroup(
        "both", [ExceptionGroup("inner", [TypeError("c")]), *errors]
    )
    error.add_note("of the order")
    raise error from LookupError("d")


def misspelt() -> None:
    """Ask for an attribute that is nearly there."""
    value = "x"
    value.uper()  # type: ignore[attr-defined]


def unknown_name() -> None:
    """Use a name that is nearly known."""
    valeu = 1
    del valeu
    lenn  # type: ignore[name-defined]  # noqa: B018, F821


def bad_syntax() -> None:
    """Compile what is no Python."""
    compile("a b", "shop.py", "exec")


def stream_drain() -> None:
    """Recurse without an end."""
    stream_drain()


class AsPythonTests(SynchronousTestCase):
    """To the letter."""

    def test_kinds(self) -> None:
        """Causes, contexts, groups, notes, hints, syntax errors and recursions."""
        for call in (
            with_cause,
            with_context,
            without_context,
            with_group,
            misspelt,
            unknown_name,
            bad_syntax,
            stream_drain,
        ):
            python, ours = printed(call)
            self.assertEqual(ours, python, call)

    def test_wide_and_deep_groups(self) -> None:
        errors = [ValueError(str(number)) for number in range(40)]
        python, ours = printed(lambda: _raise(ExceptionGroup("wide", errors)))
        self.assertEqual(ours, python)
        error: Exception = ValueError("innermost")
        for number in range(20):
            error = ExceptionGroup(f"level {number}", [error])
        python, ours = printed(lambda: _raise(error))
        self.assertEqual(ours, python)

    def test_loop_of_causes(self) -> None:
        first, second = ValueError("a"), ValueError("b")
        first.__cause__, second.__cause__ = second, first
        python, ours = printed(lambda: _raise(first))
        self.assertEqual(ours, python)

    def test_summary(self) -> None:
        """The last line of the exception, without its notes."""
        self.assertEqual(summary_of(raised(with_cause)), "RuntimeError: cannot ship")
        noted = ValueError("no")
        noted.add_note("a note")
        self.assertEqual(summary_of(noted), "ValueError: no")


def _raise(error: BaseException) -> None:
    raise error


class FailureTests(SynchronousTestCase):
    """Failures of Deferreds: no frame of the application is lost."""

    def assert_whole(self, failure: Failure) -> str:
        """Assert that each frame which Twisted prints is there."""
        text = format_failure(failure)
        for name, file, line, *_ in failure.frames:
            self.assertIn(f'File "{file}", line {line}, in {name}\n', text)
        self.assertIn("KeyError: 'stock'", text)
        self.assertIn("in with_cause\n", text)
        return text

    def test_coroutine(self) -> None:
        async def inner(waiting: Deferred[None]) -> None:
            await waiting
            with_cause()

        async def handler(waiting: Deferred[None]) -> None:
            await inner(waiting)

        waiting: Deferred[None] = Deferred()
        handling = Deferred.fromCoroutine(handler(waiting))
        waiting.callback(None)
        text = self.assert_whole(self.failureResultOf(handling))
        for name in ("inner", "handler"):
            self.assertIn(f"in {name}\n", text)

    def test_inline_callbacks(self) -> None:
        @inlineCallbacks
        def inner(waiting: Deferred[None]) -> Generator[Deferred[None], Any, None]:
            yield waiting
            with_cause()

        @inlineCallbacks
        def handler(waiting: Deferred[None]) -> Generator[Deferred[None], Any, None]:
            yield inner(waiting)

        waiting: Deferred[None] = Deferred()
        handling = handler(waiting)
        waiting.callback(None)
        text = self.assert_whole(self.failureResultOf(handling))
        for name in ("inner", "handler"):
            self.assertIn(f"in {name}\n", text)

    def test_errback(self) -> None:
        """Also one that goes on through a coroutine, and was cleaned meanwhile."""
        waiting: Deferred[None] = Deferred()
        waiting.addCallback(lambda _: with_cause())

        async def handler() -> None:
            await waiting

        handling = Deferred.fromCoroutine(handler())
        waiting.callback(None)
        failure = self.failureResultOf(handling)
        self.assertIn("in handler\n", self.assert_whole(failure))
        failure.cleanFailure()
        self.assertIn("in handler\n", self.assert_whole(failure))

    def test_without_traceback(self) -> None:
        """What was never raised has causes as well."""
        error = ValueError("no")
        error.__cause__ = raised(with_cause)
        text = format_failure(Failure(error))
        self.assertIn("RuntimeError: cannot ship", text)
        self.assertTrue(text.endswith("ValueError: no\n"))

    def test_what_cannot_be_formatted(self) -> None:
        class BrokenError(Exception):
            def __getattribute__(self, name: str) -> Any:
                if name == "__notes__":
                    raise ZeroDivisionError
                return super().__getattribute__(name)

        error = BrokenError("no")
        text = format_failure(Failure(error))
        self.assertIn("cannot be formatted: ZeroDivisionError", text)
        self.assertEqual(summary_of(error), "BrokenError")


class BoundTests(SynchronousTestCase):
    """However much there is."""

    def assert_bounded(self, error: BaseException) -> str:
        began = time.process_time()
        text = format_failure(Failure(error))
        self.assertLess(time.process_time() - began, 2)
        self.assertLess(len(text), LONGEST_TRACEBACK + 100)
        return text

    def counted(self) -> list[object]:
        """Count the exceptions that are formatted."""
        seen: list[object] = []
        single = tracebacks._Formatting.single

        def counting(self: Any, error: BaseException, trace: Any) -> Any:
            seen.append(error)
            return single(self, error, trace)

        self.patch(tracebacks._Formatting, "single", counting)
        return seen

    def test_many_causes(self) -> None:
        """The first and the last of them say most."""
        seen = self.counted()
        error: BaseException = ValueError("the first")
        for number in range(5_000):
            later = ValueError(f"later {number}")
            later.__cause__, error = error, later
        text = self.assert_bounded(error)
        self.assertTrue(text.startswith("ValueError: the first\n"))
        self.assertIn("\n… 4960 exceptions left out\n", text)
        self.assertTrue(text.endswith("ValueError: later 4999\n"))
        self.assertEqual(len(seen), 41)

    def test_many_parts(self) -> None:
        """Groups of groups, of exceptions that have causes each."""
        seen = self.counted()
        error: Exception = ValueError("x")
        for _ in range(6):
            parts = [ExceptionGroup("each", [error]) for _ in range(100)]
            for part in parts:
                part.__cause__ = error
            error = ExceptionGroup("all", parts)
        text = self.assert_bounded(error)
        self.assertIn("exceptions left out", text)
        self.assertLessEqual(len(seen), 100)

    def test_long_message(self) -> None:
        text = self.assert_bounded(ValueError("x" * 1_000_000 + "the end"))
        self.assertTrue(text.endswith("the end\n"))

    def test_deep_stack(self) -> None:
        """The outermost and the innermost frames are there, of each exception."""
        code = "\n".join(f"def f{n}(): f{n + 1}()" for n in range(300))
        names: dict[str, Any] = {"f300": with_cause}
        exec(compile(code, "deep.py", "exec"), names)
        self.patch(tracebacks, "_MOST_FRAMES", 100)
        error = raised(names["f0"])
        cause = error.__cause__
        assert cause is not None
        cause.__traceback__ = error.__traceback__
        cleaned = Failure(error)
        cleaned.cleanFailure()
        self.assertIn("… 202 frames left out\n", format_failure(cleaned))
        error.__traceback__ = cause.__traceback__
        text = self.assert_bounded(error)
        self.assertEqual(text.count("… 202 frames left out\n"), 1)
        self.assertEqual(text.count("… 292 frames left out\n"), 1)
        self.assertEqual(text.count("in f0\n"), 2)
        self.assertEqual(text.count("in with_cause\n"), 2)
