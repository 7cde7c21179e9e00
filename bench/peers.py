"""How each server is started: one worker, in production, without an access log."""

import os
import pwd
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from string import Template

from bench.install import APPS, Cache, find_program
from bench.works import Work

#: The name of the clusterapp that is compared with all the others.
OURS = "clusterapp"

#: How long every server keeps an idle connection, in seconds.
KEEP_ALIVE = "60"


@dataclass(frozen=True, kw_only=True)
class Ground:
    """
    What one start of a server is given.

    :param port: where it is to listen, on the loopback address.
    :param core_port: a port for what it may want to tell itself.
    :param folder: an empty folder of its own.
    :param static: the folder of the static files.
    """

    port: int
    core_port: int
    folder: Path
    static: Path


@dataclass(frozen=True)
class Peer:
    """
    A server that can be measured.

    :param name: the word for it on the command line and in the report.
    :param install: makes it ready to be started, and tells where it is.
    :param command: what starts it from there.
    :param is_ours: whether it is clusterapp.
    :param ready_path: what is answered with 200 once all its workers serve; None
        where they do as soon as it listens.
    """

    name: str
    install: Callable[[Cache], Path]
    command: Callable[[Path, Work, Ground], list[str]]
    is_ours: bool = False
    ready_path: str | None = None


def clusterapp(name: str, checkout: Path) -> Peer:
    """Make a peer of a checkout of clusterapp."""
    return Peer(
        name, lambda cache: cache.clusterapp(checkout), _clusterapp, is_ours=True
    )


def _clusterapp(home: Path, _work: Work, ground: Ground) -> list[str]:
    return [
        *(str(home / "twistd"), "-n", "--pidfile=", "clusterapp"),
        *("--app", "clusterapp_app:app", "--core", "master", "--workers", "1"),
        *("--listen", f"tcp:{ground.port}:interface=127.0.0.1"),
        *("--state", str(ground.folder / "state")),
    ]


def _uvicorn(home: Path, _work: Work, ground: Ground) -> list[str]:
    return [
        *(str(home / "uvicorn"), "starlette_app:app", "--port", str(ground.port)),
        *("--loop", "uvloop", "--http", "httptools", "--workers", "1"),
        *("--no-access-log", "--log-level", "warning", "--backlog", "2048"),
        *("--timeout-keep-alive", KEEP_ALIVE),
    ]


def _granian(home: Path, _work: Work, ground: Ground) -> list[str]:
    return [
        *(str(home / "granian"), "starlette_app:app", "--port", str(ground.port)),
        *("--interface", "asgi", "--loop", "uvloop", "--http", "1", "--workers", "1"),
        *("--no-access-log", "--log-level", "warning", "--backlog", "2048"),
        # It counts idle connections as well, and what it waits for is a head.
        *("--backpressure", "4096", "--http1-header-read-timeout", f"{KEEP_ALIVE}000"),
    ]


def _gunicorn(home: Path, _work: Work, ground: Ground) -> list[str]:
    return [
        *(str(home / "gunicorn"), "flask_app:app", "-b", f"127.0.0.1:{ground.port}"),
        # The class of worker that keeps connections alive.
        *("--workers", "1", "--worker-class", "gthread", "--threads", "4"),
        *("--worker-connections", "4096", "--keep-alive", KEEP_ALIVE),
        *("--log-level", "warning", "--no-control-socket"),
    ]


def _gunicorn_asgi(home: Path, _work: Work, ground: Ground) -> list[str]:
    return [
        *(str(home / "gunicorn"), "starlette_app:app"),
        *("-b", f"127.0.0.1:{ground.port}", "--workers", "1"),
        *("--worker-class", "asgi", "--worker-connections", "4096"),
        *("--keep-alive", KEEP_ALIVE, "--log-level", "warning", "--no-control-socket"),
    ]


def _klein(home: Path, _work: Work, ground: Ground) -> list[str]:
    return [str(home / "python"), "klein_app.py", str(ground.port)]


def _express(home: Path, work: Work, ground: Ground) -> list[str]:
    node, port = find_program("node"), str(ground.port)
    if work.name == "core":
        return [node, str(home / "core.js"), port, str(ground.core_port)]
    return [node, str(home / "app.js"), port]


def _nginx(home: Path, _work: Work, ground: Ground) -> list[str]:
    text = Template((APPS / "nginx.conf").read_text("utf-8"))
    configuration = ground.folder / "nginx.conf"
    user = pwd.getpwuid(os.getuid()).pw_name
    configuration.write_text(
        text.substitute(
            user=user, port=ground.port, static=ground.static, run=ground.folder
        ),
        "utf-8",
    )
    return [
        str(home),
        "-p",
        str(ground.folder),
        "-e",
        "stderr",
        "-c",
        str(configuration),
    ]


PEERS = (
    Peer("uvicorn", Cache.python_peers, _uvicorn),
    Peer("granian", Cache.python_peers, _granian),
    Peer("gunicorn", Cache.python_peers, _gunicorn),
    Peer("gunicorn-asgi", Cache.python_peers, _gunicorn_asgi),
    Peer("klein", Cache.python_peers, _klein),
    Peer("express", Cache.express, _express),
    Peer("nginx", lambda _cache: Path(find_program("nginx")), _nginx),
)
