"""Streaming an operation's steps to a client as they happen: a line of JSON each."""

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest

from clusterapp.operations import OperationResult, Step, Tell
from clusterapp.tracebacks import format_failure

#: The media type of the lines.
LINES_OF_JSON = "application/x-ndjson"

_log = Logger()


def follow(
    request: IRequest, begin: Callable[[Tell], Deferred[OperationResult]]
) -> Deferred[None]:
    """
    Start an operation, and stream its steps and its verdict as the response.

    The operation continues if the client disconnects.

    :param begin: starts it; an exception that it raises at once is raised.
    :return: fires when the verdict is written. Cancelling it does nothing.
    """
    progress = _ProgressResponse(request)
    operation = begin(progress.tell)
    progress.open()
    answered: Deferred[None] = Deferred()
    operation.addErrback(_failed)
    operation.addCallback(progress.end)
    operation.addBoth(answered.callback)
    return answered


def shielded(operation: Deferred[Any]) -> Deferred[Any]:
    """Return an operation's result; cancelling it does not cancel the operation."""
    answered: Deferred[Any] = Deferred()
    operation.addBoth(answered.callback)
    return answered


class _ProgressResponse:
    """The response to which the steps of one operation are written."""

    def __init__(self, request: IRequest) -> None:
        self._request = request
        self._opened = False
        self._buffered: list[bytes] = []

    def tell(self, step: Step) -> None:
        """Write a step, or keep it while the operation may still be refused."""
        line = _line({"step": step.text, "slot": step.slot})
        if self._opened:
            self._request.write(line)
        else:
            self._buffered.append(line)

    def open(self) -> None:
        """Start the response: the operation has started."""
        self._opened = True
        self._request.setHeader("Content-Type", LINES_OF_JSON)
        # Even without a line: it tells the client that the operation was not refused.
        self._request.write(b"".join(self._buffered))

    def end(self, verdict: OperationResult) -> None:
        """Write the verdict."""
        self._request.write(_line({"verdict": asdict(verdict)}))


def _failed(why: Failure) -> OperationResult:
    """Return the verdict for an unexpected exception of an operation."""
    _log.failure("an operation failed", why)
    return OperationResult(
        ok=False,
        text=f"the master failed: {why.getErrorMessage()}",
        traceback=format_failure(why),
    )


def _line(document: object) -> bytes:
    return json.dumps(document).encode() + b"\n"
