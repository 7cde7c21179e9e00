"""
Configurations for other programs, made of what a running cluster has told of itself.

Pure: facts in, text out. Each module writes for one program.
"""

from collections.abc import Callable, Mapping

from clusterapp.control.exports.compose import compose
from clusterapp.control.exports.facts import Facts
from clusterapp.control.exports.haproxy import haproxy
from clusterapp.control.exports.kubernetes import kubernetes
from clusterapp.control.exports.nginx import nginx
from clusterapp.control.exports.systemd import systemd

#: What can be exported, and what makes it; each raises `ExportError` if the settings
#: do not let it.
EXPORTS: Mapping[str, Callable[[Facts], str]] = {
    "nginx": nginx,
    "haproxy": haproxy,
    "systemd": systemd,
    "compose": compose,
    "kubernetes": kubernetes,
}
