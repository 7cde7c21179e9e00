"""A cluster that is exported: what its master would tell of it."""

from collections.abc import Mapping
from typing import Any

from clusterapp.control.exports import EXPORTS
from clusterapp.control.exports.facts import Facts, HostFacts
from clusterapp.settings.listen import AnyTlsListen, TcpListen, UnixListen
from clusterapp.settings.model import Settings
from tests.unit.control.operating import status, worker

HERE = HostFacts(programs="/home/me/bin", user="shop")

#: What every setting could be, if it is not as by default.
OTHERS: dict[str, Any] = {
    "workers": 3, "max_body": 5, "keepalive_timeout": 2.5, "header_timeout": 7,
    "trusted_proxies": ("10.0.0.0/8", "unix"), "core": "isolated", "reload": True,
    "access_log": "-", "max_requests": 1000, "drain_delay": 4,
}  # fmt: skip


def config_of(settings: Settings) -> Mapping[str, Mapping[str, Any]]:
    """Make the document of settings."""
    return {
        name: {"value": value, "origin": "a test"}
        for name, value in settings.as_mapping().items()
    }


def status_of(settings: Settings, size: int = 2, **facts: object) -> dict[str, Any]:
    """Make the document of the status of a cluster with so many workers."""
    listeners = [
        {
            "listener": str(spec),
            "address": _address(spec),
            "dispatch": spec.dispatch or settings.dispatch,
            "sticky": settings.sticky
            if (spec.dispatch or settings.dispatch) == "sticky"
            else None,
            "by": "",
        }
        for spec in settings.listeners
    ]
    return {
        **status(size),
        "workers": [worker(slot) for slot in range(size)],
        "distribution": {"listeners": listeners},
        **facts,
    }


def facts_of(
    size: int = 2, here: HostFacts = HERE, told: Any = None, **chosen: Any
) -> Facts:
    """
    Make the facts of a cluster.

    :param size: how many workers it has.
    :param here: what this machine tells.
    :param told: parts of its status that are otherwise.
    :param chosen: its settings.
    """
    settings = Settings(app="shop:app", **chosen)
    found = status_of(settings, size, **(told or {}))
    return Facts.read(config_of(settings), found, here)


def _address(spec: object) -> str:
    match spec:
        case UnixListen():
            return f"unix:{spec.path}"
        case TcpListen():
            scheme, port = "http", spec.port or 45678
        case _:
            assert isinstance(spec, AnyTlsListen)
            scheme, port = "https", spec.port
    host = f"[{spec.interface}]" if ":" in spec.interface else spec.interface
    return f"{scheme}://{host}:{port}"


def export(program: str, size: int = 2, **chosen: Any) -> str:
    """Write a configuration for a program."""
    return EXPORTS[program](facts_of(size, **chosen))
