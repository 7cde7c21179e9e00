"""What every server is asked to do, and what clusterapp is to reach."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import shake_256

KIB = 1024

#: How the figures of a work are called, and whether more of it is better.
RATE, MEMORY = "requests/s", "KiB a connection"

_MESSAGE = {"message": "hello, world"}
_STARLETTE = ("uvicorn", "granian")
_PYTHON = (*_STARLETTE, "gunicorn", "klein")


@dataclass(frozen=True)
class Target:
    """
    A ratio to reach.

    :param peers: whose best figure clusterapp's own is divided by.
    :param ratio: the least that is wanted; with None, whatever comes is well.
    """

    peers: tuple[str, ...]
    ratio: float | None


@dataclass(frozen=True, kw_only=True)
class Work:
    """
    Something that all servers do alike.

    :param name: the word for it on the command line.
    :param title: its name in the report.
    :param path: what is asked for.
    :param peers: who else does it.
    :param post_bytes: the size of the body that is sent, by POST; none with 0.
    :param one_request_each: whether each request has a connection of its own.
    :param idle: how many idle connections are held, instead of asking all the time.
    :param meaning: what of a body must be the same from all.
    :param expected: what that is; with None, what the first server says.
    :param targets: what clusterapp is to reach.
    :param at_most: how much a connection may take, in KiB.
    """

    name: str
    title: str
    path: str
    peers: tuple[str, ...]
    post_bytes: int = 0
    one_request_each: bool = False
    idle: int = 0
    meaning: Callable[[bytes], object] = bytes.strip
    expected: object = None
    targets: tuple[Target, ...] = ()
    at_most: float | None = None

    @property
    def unit(self) -> str:
        """What the figures count."""
        return MEMORY if self.idle else RATE

    @property
    def body(self) -> bytes | None:
        """What is sent, if anything."""
        return b"x" * self.post_bytes or None


def static_text(size: int) -> bytes:
    """Make a text of so many bytes, without a pattern, always the same."""
    return shake_256(b"clusterapp bench").hexdigest(size // 2).encode()


#: The files that are served, by name, with their size.
STATIC_FILES = {"10k.txt": 10 * KIB, "1m.txt": KIB * KIB}


def _static(name: str, title: str, file: str, *targets: Target) -> Work:
    return Work(
        name=name,
        title=title,
        path=f"/static/{file}",
        peers=(*_PYTHON, "express", "nginx"),
        expected=static_text(STATIC_FILES[file]),
        targets=targets,
    )


WORKS = (
    Work(
        name="json",
        title="JSON route",
        path="/json",
        peers=(*_PYTHON, "express"),
        meaning=json.loads,
        expected=_MESSAGE,
        targets=(Target(_STARLETTE, 1.5), Target(("express",), 4.0)),
    ),
    _static(
        "static-10k",
        "static file of 10 KiB",
        "10k.txt",
        Target(("nginx",), 1.0),
        Target(("express",), 15.0),
    ),
    _static("static-1m", "static file of 1 MiB", "1m.txt", Target(("nginx",), 0.9)),
    Work(
        name="page",
        title="page of 20 rows",
        path="/page",
        peers=(*_PYTHON, "express"),
        targets=(Target(("granian", "express"), 1.5),),
    ),
    Work(
        name="core",
        title="through the core",
        path="/core",
        peers=("express",),
        meaning=json.loads,
        expected=_MESSAGE,
        targets=(Target(("express",), 4.0),),
    ),
    Work(
        name="connections",
        title="connection per request",
        path="/json",
        peers=(*_PYTHON, "express", "nginx"),
        one_request_each=True,
        meaning=json.loads,
        expected=_MESSAGE,
        targets=(Target(("granian",), 1.2),),
    ),
    Work(
        name="post",
        title="POST of 64 KiB",
        path="/length",
        peers=(*_PYTHON, "express"),
        post_bytes=64 * KIB,
        expected=b"65536",
        targets=(Target(_STARLETTE, None), Target(("express",), None)),
    ),
    Work(
        name="idle",
        title="2,000 idle connections",
        path="/json",
        peers=(*_PYTHON, "express", "nginx"),
        idle=2000,
        meaning=json.loads,
        expected=_MESSAGE,
        at_most=8.0,
    ),
)
