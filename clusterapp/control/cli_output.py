"""The output of `clusterctl`: for people, or for programs."""

import json
import os
from collections.abc import Callable, Mapping
from io import TextIOWrapper
from typing import Any, TextIO

from clusterapp.control.views import (
    Paint,
    clusters_text,
    coloured,
    plain,
    step_text,
    verdict_text,
)
from clusterapp.errors import ClusterError, SeveralClustersError
from clusterapp.printable import printable


class CommandOutput:
    """
    The output of a command: text for people, or JSON for programs.

    :param stream: the stream of results.
    :param errors: the stream of errors.
    :param as_json: whether the results are written as JSON.
    """

    def __init__(self, stream: TextIO, errors: TextIO, *, as_json: bool) -> None:
        self._stream = stream
        self._errors = errors
        self._as_json = as_json
        self._paint = _paint_for(stream)
        for each in (stream, errors):
            if isinstance(each, TextIOWrapper):
                each.reconfigure(errors="backslashreplace")

    def show(self, document: Any, view: Callable[[Any, Paint], str]) -> None:
        """Write a document as text or as JSON."""
        if self._as_json:
            self._stream.write(json.dumps(document) + "\n")
        else:
            self._stream.write(view(document, self._paint))

    def step(self, line: Mapping[str, Any]) -> None:
        """Write a step of an operation, and flush it."""
        self.show(line, lambda step, _: step_text(step) + "\n")
        self._stream.flush()

    def verdict(self, line: Mapping[str, Any]) -> bool:
        """Write the verdict of an operation; return whether it has succeeded."""
        verdict = line["verdict"]
        self.show(line, lambda _, paint: verdict_text(verdict, paint) + "\n")
        if verdict.get("traceback") and not self._as_json:
            self._stream.flush()
            self._errors.write(printable(verdict["traceback"]).rstrip() + "\n")
        return bool(verdict.get("ok"))

    def warn(self, text: str) -> None:
        """Write a warning; the command continues."""
        self._stream.flush()
        print(f"clusterctl: warning: {printable(text)}", file=self._errors)

    def error(self, error: ClusterError) -> None:
        """Write the error that has ended the command."""
        self._stream.flush()
        print(f"clusterctl: {printable(str(error))}", file=self._errors)
        document: dict[str, Any] = {"error": str(error)}
        if isinstance(error, SeveralClustersError):
            document["clusters"] = error.clusters
            paint = _paint_for(self._errors)
            self._errors.write(clusters_text(error.clusters, paint))
        if self._as_json:
            self._stream.write(json.dumps(document) + "\n")


def _paint_for(stream: TextIO) -> Paint:
    """Return the colours for a terminal that shows them, unless disabled."""
    wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return coloured if wanted and stream.isatty() else plain
