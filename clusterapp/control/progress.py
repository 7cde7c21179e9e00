"""Telling a client of an operation's steps while they happen: a line of JSON each."""

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest

from clusterapp.operations import Step, Tell, Verdict
from clusterapp.tracebacks import format_failure

#: What the lines are, for who has to know it beforehand.
LINES_OF_JSON = "application/x-ndjson"

_log = Logger()


def follow(
    request: IRequest, begin: Callable[[Tell], Deferred[Verdict]]
) -> Deferred[None]:
    """
    Begin an operation, and answer a request with its steps and its verdict.

    The operation goes on if the client leaves.

    :param begin: begins it; what it raises at once is raised.
    :return: fires when the verdict is written. Cancelling it does nothing.
    """
    progress = _Progress(request)
    operation = begin(progress.tell)
    progress.open()
    answered: Deferred[None] = Deferred()
    operation.addErrback(_failed)
    operation.addCallback(progress.end)
    operation.addBoth(answered.callback)
    return answered


def shielded(operation: Deferred[Any]) -> Deferred[Any]:
    """Give what an operation comes to; cancelling that leaves the operation alone."""
    answered: Deferred[Any] = Deferred()
    operation.addBoth(answered.callback)
    return answered


class _Progress:
    """The response that the steps of one operation are written to."""

    def __init__(self, request: IRequest) -> None:
        self._request = request
        self._opened = False
        self._early: list[bytes] = []

    def tell(self, step: Step) -> None:
        """Write a step, or keep it while the operation may still be refused."""
        line = _line({"step": step.text, "slot": step.slot})
        if self._opened:
            self._request.write(line)
        else:
            self._early.append(line)

    def open(self) -> None:
        """Begin the response: the operation is under way."""
        self._opened = True
        self._request.setHeader("Content-Type", LINES_OF_JSON)
        # Also without a line: the client hears that it is not refused.
        self._request.write(b"".join(self._early))

    def end(self, verdict: Verdict) -> None:
        """Write the verdict."""
        self._request.write(_line({"verdict": asdict(verdict)}))


def _failed(why: Failure) -> Verdict:
    """Make a verdict of what no operation should come to."""
    _log.failure("an operation failed", why)
    return Verdict(
        ok=False,
        text=f"the master failed: {why.getErrorMessage()}",
        traceback=format_failure(why),
    )


def _line(document: object) -> bytes:
    return json.dumps(document).encode() + b"\n"
