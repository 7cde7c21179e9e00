"""
An application server for Twisted that runs one application on every core.

`Application`, `ClusterService`, `Settings` and `streamed` are imported when they are
first used: importing Klein installs a reactor, and a process must be able to choose its
reactor after it has imported this package.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clusterapp.control.control_socket import ControlService
    from clusterapp.http.application.request import ClusterRequest
    from clusterapp.master.service import ClusterService
    from clusterapp.settings.model import Settings
    from clusterapp.web.application import Application
    from clusterapp.web.streaming import streamed

__version__ = "0.1.0"

__all__ = [
    "Application",
    "ClusterRequest",
    "ClusterService",
    "ControlService",
    "Settings",
    "streamed",
]

_HOMES = {
    "Application": "clusterapp.web.application",
    "ClusterService": "clusterapp.master.service",
    "ControlService": "clusterapp.control.control_socket",
    "Settings": "clusterapp.settings.model",
    "ClusterRequest": "clusterapp.http.application.request",
    "streamed": "clusterapp.web.streaming",
}


def __getattr__(name: str) -> object:
    """Load a public name from the module that defines it (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
