"""What every test with real damage runs with."""

import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

_MARK = "CHAOS_TEST"


@pytest.fixture(autouse=True)
def _nothing_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """
    Fail if a process that the test has started, or a descendant, is still alive.

    They are known by a variable in their environment, so reparented ones are found.
    """
    mark = f"{_MARK}={uuid.uuid4()}"
    monkeypatch.setenv(*mark.split("="))
    yield
    left = list(_marked(mark.encode("ascii")))
    for pid, _ in left:
        os.kill(pid, signal.SIGKILL)
    assert not left, f"processes have survived the test: {left}"


def _marked(mark: bytes) -> Iterator[tuple[int, str]]:
    """Return the pids of the processes with a mark, and their command lines."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
        except OSError:
            continue  # it has just ended, or is somebody else's
        if mark in environment and command:  # a zombie has none
            yield int(folder.name), command.decode("utf-8", "replace").strip()
