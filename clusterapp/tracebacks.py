"""
Tracebacks of exceptions, as Python prints them, bounded in length and in work.

`twisted.python.failure.Failure.getTraceback` prints one exception only. Python's format
includes causes and contexts (PEP 3134), the members of exception groups and notes (PEP
654, PEP 678), and one line for repeated frames of a recursion.
"""

from traceback import FrameSummary, StackSummary, TracebackException, walk_tb
from types import TracebackType
from typing import Any, cast

from twisted.python.failure import Failure

from clusterapp.printable import shortened
from clusterapp.wording import counted

#: The most characters of a traceback. The middle of a longer one is cut.
LONGEST_TRACEBACK = 16_384

#: The most exceptions that are formatted: in all, of one chain of causes, and of one
#: group; and the deepest nesting of groups.
_MOST_EXCEPTIONS, _MOST_CHAINED, _MOST_IN_GROUP, _DEEPEST_GROUP = 100, 40, 15, 10
#: The most causes that are followed to find the first one.
_MOST_FOLLOWED = 10_000
#: The most frames that are formatted in all; and the frames that each exception may
#: have in any case.
_MOST_FRAMES, _LEAST_FRAMES = 2_000, 10


def format_failure(failure: Failure) -> str:
    """
    Format the exception of a failure, with its causes and the members of groups.

    :param failure: its own traceback is used, which a cleaned failure has as well.
    :return: the traceback, or a note that it cannot be formatted.
    """
    error = failure.value
    try:
        if not isinstance(error, BaseException):
            return shortened(failure.getTraceback(), LONGEST_TRACEBACK)
        formatting = _Formatting()
        formatted = formatting.chain(error, failure.tb)
        if failure.tb is None:  # cleaned, or it came from another process
            formatted.stack = _stack_of(failure)
        return _joined(formatted)
    except Exception as why:  # noqa: BLE001 - what it tells of has failed anyway
        return _not_formatted(why)


def format_error(error: BaseException, trace: TracebackType | None) -> str:
    """
    Format an exception, with its causes and the members of groups.

    :param trace: its traceback; None to leave its own frames out.
    :return: the traceback, or a note that it cannot be formatted.
    """
    try:
        formatting = _Formatting()
        return _joined(formatting.chain(error, trace))
    except Exception as why:  # noqa: BLE001 - what it tells of has failed anyway
        return _not_formatted(why)


def summary_of(error: BaseException) -> str:
    """Return the type and the message of an exception, without notes and causes."""
    try:
        formatted = _Formatting().single(error, None)
        formatted.__notes__ = None
        return list(formatted.format_exception_only())[-1].strip()
    except Exception:  # noqa: BLE001 - what it tells of has failed anyway
        return type(error).__name__


def _joined(formatted: TracebackException) -> str:
    return shortened("".join(formatted.format()), LONGEST_TRACEBACK)


def _not_formatted(why: Exception) -> str:
    return f"(the traceback cannot be formatted: {type(why).__name__})"


class _Alone:
    """
    An exception without its causes and members.

    `TracebackException` would format every one of them, however many there are.
    """

    __cause__ = __context__ = None
    __suppress_context__ = False
    exceptions = ()

    def __init__(self, error: BaseException) -> None:
        self._error = error

    @property  # type: ignore[misc]  # what isinstance() asks for
    def __class__(self) -> type:
        return type(self._error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._error, name)

    def __str__(self) -> str:
        return str(self._error)


class _Omission(TracebackException):
    """A placeholder for exceptions that are not formatted."""

    def __init__(self, number: int) -> None:
        text = f"{counted(number, 'exception')} left out"
        super().__init__(Exception, Exception(text), None)

    def format_exception_only(self, **_: Any) -> Any:
        """Return the number of omitted exceptions as a line."""
        yield f"… {self}\n"


class _TruncatedStack(StackSummary):
    """The outermost and the innermost frames of a deep stack."""

    def __init__(
        self, outer: list[FrameSummary], omitted: int, inner: list[FrameSummary]
    ) -> None:
        self._omitted = FrameSummary("", omitted, "", lookup_line=False)
        super().__init__([*outer, self._omitted, *inner])

    def format_frame_summary(self, frame_summary: FrameSummary, **options: Any) -> str:
        """Format a frame, or the note about the omitted ones."""
        if frame_summary is self._omitted:
            return f"  … {counted(frame_summary.lineno or 0, 'frame')} left out\n"
        return super().format_frame_summary(frame_summary, **options)


class _Formatting:
    """The formatting of one exception, with the remaining parts of its bounds."""

    def __init__(self) -> None:
        self._exceptions = _MOST_EXCEPTIONS
        self._frames = _MOST_FRAMES

    def chain(
        self, error: BaseException, trace: TracebackType | None, depth: int = 0
    ) -> TracebackException:
        """Format an exception with its causes."""
        links = _links_of(error)
        omitted = len(links) - _MOST_CHAINED
        half = _MOST_CHAINED // 2
        first = last = self._member(error, trace, depth)
        for index, (earlier, is_cause) in enumerate(links):
            if omitted > 0 and half <= index < half + omitted:
                if index > half:
                    continue
                node: TracebackException = _Omission(omitted)
            elif self._exceptions <= 0:
                node = _Omission(len(links) - index)
            else:
                node = self._member(earlier, earlier.__traceback__, depth)
            if is_cause:
                last.__cause__ = node
            else:
                last.__context__ = node
            last.__suppress_context__ = is_cause
            last = node
            if self._exceptions <= 0:
                break
        return first

    def _member(
        self, error: BaseException, trace: TracebackType | None, depth: int
    ) -> TracebackException:
        """Format an exception with its members, if it is a group."""
        formatted = self.single(error, trace)
        if isinstance(error, BaseExceptionGroup):
            formatted.exceptions = self._parts(error.exceptions, depth)
        return formatted

    def _parts(
        self, errors: tuple[BaseException, ...], depth: int
    ) -> list[TracebackException]:
        parts: list[TracebackException] = []
        if depth > _DEEPEST_GROUP:
            return parts  # its output says so itself
        for error in errors[:_MOST_IN_GROUP]:
            if self._exceptions <= 0:
                left = len(errors) - len(parts)
                return [*parts, _Omission(left)]
            parts.append(self.chain(error, error.__traceback__, depth + 1))
        # Only the number of the rest is written.
        return parts + parts[-1:] * (len(errors) - len(parts))

    def single(
        self, error: BaseException, trace: TracebackType | None
    ) -> TracebackException:
        """Format an exception alone, with at least some of its frames."""
        self._exceptions -= 1
        count = sum(1 for _ in walk_tb(trace))
        most = max(self._frames, _LEAST_FRAMES)
        self._frames -= min(count, most)
        inner, half = trace, most // 2
        omitted = count - 2 * half if count > most else 0
        for _ in range(half + omitted if omitted else 0):
            inner = inner and inner.tb_next
        formatted = TracebackException(
            type(error),
            cast("BaseException", _Alone(error)),
            inner,
            lookup_lines=False,
            max_group_width=_MOST_IN_GROUP,
            max_group_depth=_DEEPEST_GROUP,
        )
        if omitted:
            outer = StackSummary.extract(walk_tb(trace), limit=half, lookup_lines=False)
            formatted.stack = _TruncatedStack(outer, omitted, formatted.stack)
        return formatted


def _links_of(error: BaseException) -> list[tuple[BaseException, bool]]:
    """Return the chain of causes and contexts, each with whether it is a cause."""
    links: list[tuple[BaseException, bool]] = []
    seen = {id(error)}
    while len(links) < _MOST_FOLLOWED:
        cause = error.__cause__
        earlier = cause
        if cause is None and not error.__suppress_context__:
            earlier = error.__context__
        if earlier is None or id(earlier) in seen:
            break
        seen.add(id(earlier))
        links.append((earlier, cause is not None))
        error = earlier
    return links


def _stack_of(failure: Failure) -> StackSummary:
    """Return the stack of a failure whose frames are gone."""
    frames = [
        FrameSummary(file, line, name, lookup_line=False)
        for name, file, line, *_ in failure.frames
    ]
    half = _MOST_FRAMES // 2
    omitted = len(frames) - 2 * half
    if omitted <= 0:
        return StackSummary.from_list(frames)
    return _TruncatedStack(frames[:half], omitted, frames[-half:])
