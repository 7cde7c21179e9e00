"""A service for compose, with the image of docs/container.md."""

from collections.abc import Iterator

from clusterapp.control.exports.containers import Port, arguments, files, ports, quoted
from clusterapp.control.exports.facts import Facts
from clusterapp.control.exports.words import one_line, span, stop_time
from clusterapp.settings.listen import ALL_INTERFACES

_SERVICE = """\
# {app} in a container, written by: clusterctl export compose
#
# The image is that of the Dockerfile, with the application in it: docs/container.md.

services:
  {name}:
    image: {name}
    command:
{command}
    ports:
{ports}
{volumes}    # Healthy is what is ready.
    healthcheck:
      test: ["CMD", "clusterctl", "status"]
      interval: 10s
      timeout: 5s
      start_period: {boot}
    # More than --drain-delay and --graceful-timeout together. No init is needed: the
    # master is PID 1 and reaps whatever is left behind.
    stop_grace_period: {stop}
    restart: on-failure
    # Nothing is written but the state folder, which is below /tmp.
    read_only: true
    tmpfs: ["/tmp"]
    cap_drop: ["ALL"]
    security_opt: ["no-new-privileges:true"]
"""


def compose(facts: Facts) -> str:
    """
    Write a compose file.

    :raise ExportError: if the cluster cannot run in a container as it is.
    """
    settings = facts.settings
    return _SERVICE.format(
        app=one_line(facts.app),
        name=facts.label,
        command=_items(map(_literal, arguments(facts))),
        ports=_items(map(_published, ports(facts))),
        volumes=_volumes(facts),
        boot=span(settings.boot_timeout),
        stop=span(stop_time(settings)),
    )


def _literal(text: str) -> str:
    """Keep a dollar sign from naming a variable."""
    return text.replace("$", "$$")


def _published(port: Port) -> str:
    number = port.number
    if port.interface == ALL_INTERFACES:
        return f"{number}:{number}"
    host = f"[{port.interface}]" if ":" in port.interface else port.interface
    return f"{host}:{number}:{number}"


def _volumes(facts: Facts) -> str:
    """Lend the container the files that its flags name."""
    named = files(facts)
    if not named:
        return ""
    lent = _items(_literal(f"{path}:{path}:ro") for path in named)
    return f"    volumes:\n{lent}\n"


def _items(texts: Iterator[str]) -> str:
    return "\n".join(f"      - {quoted(text)}" for text in texts)
