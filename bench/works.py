"""What every server is asked to do, and what clusterapp is to reach."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import shake_256

KIB = 1024

#: How the figures of a work are called, and whether more of it is better.
RATE, MEMORY = "requests/s", "KiB a connection"

_STARLETTE = ("uvicorn", "granian")
_PYTHON = (*_STARLETTE, "gunicorn", "gunicorn-asgi", "klein")

#: What the first request of each server asks for, whose answers are compared.
EXAMPLE, EXAMPLE_CHOICE = "world", 7
_MESSAGE = {"message": f"hello, {EXAMPLE}"}

#: How many rules the routing tables of the applications have beside those of the works.
FEW_RULES, MANY_RULES = 5, 500
#: How many different files of 10 KiB there are.
FILES = 1000

#: The header fields of a varied request, as a browser sends them. ``{id}`` is replaced
#: by a text that no other request has.
HEADERS = (
    "Cookie: session={id}; theme=dark",
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:{id}) Gecko/20100101",
    "Accept: text/html,application/json;q=0.9,*/*;q=0.8",
    "Accept-Language: en-US,en;q=0.5",
    "Accept-Encoding: gzip, deflate, br",
    "Referer: http://localhost/",
)


@dataclass(frozen=True)
class Target:
    """
    A ratio to reach.

    :param peers: the servers by whose best figure clusterapp's is divided.
    :param ratio: the least ratio wanted; None for any.
    """

    peers: tuple[str, ...]
    ratio: float | None


@dataclass(frozen=True, kw_only=True)
class Work:
    """
    Something that all servers do alike.

    :param name: the word for it on the command line.
    :param title: its name in the report.
    :param path: what is asked for: ``{id}`` is replaced by a text that no other request
        has, ``{choice}`` by a number below `choices`.
    :param peers: the names of the other servers that do it.
    :param choices: how many numbers there are.
    :param rules: how many rules the applications' routing tables have more.
    :param repeated: whether all requests are the same, byte for byte, instead of each
        with a query, a cookie and a user agent of its own.
    :param post_bytes: the size of the body that is sent, by POST; none with 0.
    :param form_fields: how many fields of a form are sent, by POST; none with 0.
    :param one_request_each: whether each request has a connection of its own.
    :param idle: how many idle connections are held, instead of asking all the time.
    :param meaning: what of a body must be the same from all.
    :param expected: what that is for the example; with None, what the first server
        says.
    :param targets: what clusterapp is to reach.
    :param at_most: how much a connection may take, in KiB.
    """

    name: str
    title: str
    path: str
    peers: tuple[str, ...]
    choices: int = 1
    rules: int = FEW_RULES
    repeated: bool = False
    post_bytes: int = 0
    form_fields: int = 0
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
    def content_type(self) -> str | None:
        """The media type of what is sent, if anything."""
        if self.form_fields:
            return "application/x-www-form-urlencoded"
        return "application/octet-stream" if self.post_bytes else None

    @property
    def body(self) -> str:
        """What is sent, with ``{id}`` in it; empty for a GET."""
        if self.form_fields:
            fields = (f"field{number}={{id}}" for number in range(self.form_fields))
            return "&".join(fields)
        return "x" * self.post_bytes

    @property
    def target(self) -> str:
        """The path, with a query that differs each time unless all is repeated."""
        if self.repeated:
            return self.path
        return f"{self.path}{'&' if '?' in self.path else '?'}visit={{id}}"


def fill(text: str, identity: str, choice: int = EXAMPLE_CHOICE) -> str:
    """Put what differs between requests into a path, a field or a body."""
    return text.replace("{id}", identity).replace("{choice}", str(choice))


def static_text(name: str, size: int) -> bytes:
    """Make a text of so many bytes, without a pattern, always the same for a name."""
    return shake_256(name.encode()).hexdigest(size // 2).encode()


#: The files that are served, by name, with their size.
STATIC_FILES = {
    **{f"10k/{number}.txt": 10 * KIB for number in range(FILES)},
    "1m.txt": KIB * KIB,
}


def _static(name: str, title: str, file: str, *targets: Target) -> Work:
    example = fill(file, EXAMPLE)
    return Work(
        name=name,
        title=title,
        path=f"/static/{file}",
        choices=FILES,
        peers=(*_PYTHON, "express", "nginx"),
        expected=static_text(example, STATIC_FILES[example]),
        targets=targets,
    )


WORKS = (
    Work(
        name="json",
        title="JSON route",
        path="/api/hello/{id}",
        peers=(*_PYTHON, "express"),
        meaning=json.loads,
        expected=_MESSAGE,
        targets=(
            Target(("granian",), 1.0),
            Target(("uvicorn",), 1.4),
            Target(("express",), 3.0),
        ),
    ),
    Work(
        name="routes-500",
        title=f"JSON route among {MANY_RULES}",
        path="/section-{choice}/{id}/details",
        choices=MANY_RULES,
        rules=MANY_RULES,
        peers=(*_PYTHON, "express"),
        meaning=json.loads,
        expected=_MESSAGE,
        targets=(Target(("uvicorn",), 1.5), Target(("granian",), 1.5)),
    ),
    Work(
        name="page",
        title="page of 20 rows",
        path="/page?title={id}",
        peers=(*_PYTHON, "express"),
        targets=(Target(("granian", "express"), 1.6),),
    ),
    Work(
        name="form",
        title="form of 10 fields",
        path="/form",
        form_fields=10,
        peers=(*_PYTHON, "express"),
        meaning=json.loads,
        expected={"fields": 10, "first": EXAMPLE},
        targets=(Target(("granian",), 1.0),),
    ),
    Work(
        name="core",
        title="through the core",
        path="/core/{id}",
        peers=("express",),
        meaning=json.loads,
        expected=_MESSAGE,
        targets=(Target(("express",), 4.0),),
    ),
    Work(
        name="connections",
        title="connection per request",
        path="/api/hello/{id}",
        peers=(*_PYTHON, "express", "nginx"),
        one_request_each=True,
        meaning=json.loads,
        expected=_MESSAGE,
        targets=(Target(("granian",), 1.2),),
    ),
    _static(
        "static-10k",
        f"{FILES:,} static files of 10 KiB",
        "10k/{choice}.txt",
        Target(("nginx",), 1.0),
        Target(("express",), 15.0),
    ),
    _static("static-1m", "static file of 1 MiB", "1m.txt", Target(("nginx",), 0.9)),
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
        name="json-repeated",
        title="JSON route, the same request again and again",
        path="/api/hello/world",
        repeated=True,
        peers=(*_PYTHON, "express"),
        meaning=json.loads,
        expected=_MESSAGE,
        targets=(Target(_STARLETTE, None), Target(("express",), None)),
    ),
    Work(
        name="idle",
        title="2,000 idle connections",
        path="/api/hello/{id}",
        peers=(*_PYTHON, "express", "nginx"),
        idle=2000,
        meaning=json.loads,
        expected=_MESSAGE,
        at_most=8.0,
    ),
)
