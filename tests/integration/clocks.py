"""A clock that a test can set, for the processes of one cluster only."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

#: It tells a program another time of day (Debian's package libfaketime).
LIBRARIES = list(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))


@contextmanager
def settable_clock() -> Iterator[tuple[Mapping[str, str], Callable[[int], None]]]:
    """Return the environment of processes, and what sets their clock, from now on."""
    with tempfile.TemporaryDirectory() as folder:
        offset = Path(folder) / "offset"

        def set_clock(seconds: int) -> None:
            fresh = offset.with_suffix(".new")
            fresh.write_text(f"{seconds:+}\n")
            fresh.rename(offset)

        set_clock(0)
        env = {
            "LD_PRELOAD": str(LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": str(offset),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        yield env, set_clock
