"""
Exports: configurations for other programs, from a running cluster's facts.

Pure: facts in, text out. Each format is a template in ``templates/``; the values that
it is rendered with come from `facts`, `derived_settings` and the format's own module,
and each is quoted by a filter of `quoting`.
"""

from collections.abc import Callable, Mapping
from functools import partial

from clusterapp.control.exports.containers import container
from clusterapp.control.exports.facts import Facts
from clusterapp.control.exports.proxies import haproxy, nginx
from clusterapp.control.exports.systemd_unit import systemd

#: The exports by the name of the program; each raises `ExportError` if the settings
#: cannot be exported.
EXPORTS: Mapping[str, Callable[[Facts], str]] = {
    "nginx": nginx,
    "haproxy": haproxy,
    "systemd": systemd,
    "compose": partial(container, "compose.yaml.j2"),
    "kubernetes": partial(container, "kubernetes.yaml.j2"),
}
