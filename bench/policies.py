"""Servers of several workers: clusterapp under each policy, and Node's cluster."""

from functools import partial
from pathlib import Path

from bench.install import Cache, find_program
from bench.peers import Ground, Peer
from bench.works import Work

#: The policies of ``--dispatch`` that distribute evenly.
POLICIES = ("shared", "reuseport", "round-robin", "least-connections")

WORKERS = 4
#: A master, too, can use a CPU of its own.
PROCESSES = WORKERS + 1

#: Node's cluster with its round-robin: on node:http alone, and with Express.
NODES = ("node", "node-express")

_READY = "/readyz"


def under(policy: str, checkout: Path) -> Peer:
    """Make a peer of clusterapp under a policy, which it is called by."""
    return Peer(
        policy,
        lambda cache: cache.clusterapp(checkout),
        partial(_clusterapp, policy),
        is_ours=True,
        ready_path=_READY,
    )


def node(name: str) -> Peer:
    """Make a peer of Node's cluster, one of `NODES`."""
    return Peer(name, Cache.express, partial(_node, name))


def _clusterapp(policy: str, home: Path, _work: Work, ground: Ground) -> list[str]:
    return [
        *(str(home / "twistd"), "-n", "--pidfile=", "clusterapp"),
        *("--app", "clusterapp_app:app", "--core", "master"),
        *("--workers", str(WORKERS), "--dispatch", policy),
        *("--listen", f"tcp:{ground.port}:interface=127.0.0.1"),
        *("--health-path", _READY, "--min-ready", str(WORKERS)),
        *("--state", str(ground.folder / "state")),
    ]


def _node(name: str, home: Path, _work: Work, ground: Ground) -> list[str]:
    script = str(home / "cluster.js")
    return [find_program("node"), script, str(ground.port), str(WORKERS), name]
