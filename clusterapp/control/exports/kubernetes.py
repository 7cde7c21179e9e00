"""A Deployment and a Service for Kubernetes, with the image of docs/container.md."""

from collections.abc import Iterable

from clusterapp.control.exports.containers import Port, arguments, files, ports, quoted
from clusterapp.control.exports.facts import Facts
from clusterapp.control.exports.words import one_line, stop_time
from clusterapp.settings.listen import AnyTlsListen

#: Seconds for a pod's address to go from all balancers, where --drain-delay has none.
_PRE_STOP = 5

_MANIFEST = """\
# {app} on Kubernetes, written by: clusterctl export kubernetes
#
# The image is that of the Dockerfile, with the application in it: docs/container.md.

apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
  labels: {{app: {name}}}
spec:
  # Each pod is a cluster, with a core of its own.
  replicas: 1
  selector:
    matchLabels: {{app: {name}}}
  template:
    metadata:
      labels: {{app: {name}}}
    spec:
      # More than the wait before the stop and --graceful-timeout together.
      terminationGracePeriodSeconds: {grace}
      securityContext: {{runAsNonRoot: true, runAsUser: 10001, runAsGroup: 10001}}
      containers:
        - name: {name}
          image: {name}
          args:
{args}
          ports:
{ports}
          # Ready is what can serve.
          readinessProbe:
{readiness}
            periodSeconds: 5
            timeoutSeconds: 5
          # Alive is who answers: a cluster that is not ready is not helped by a kill.
          livenessProbe:
            exec: {{command: ["clusterctl", "config"]}}
            periodSeconds: 20
            timeoutSeconds: 10
            failureThreshold: 3
{lifecycle}          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {{drop: ["ALL"]}}
          # Nothing is written but the state folder, which is below /tmp.
          volumeMounts:
            - {{name: tmp, mountPath: /tmp}}
      volumes:
        - {{name: tmp, emptyDir: {{}}}}
---
apiVersion: v1
kind: Service
metadata:
  name: {name}
  labels: {{app: {name}}}
spec:
  selector: {{app: {name}}}
{affinity}  ports:
{services}
"""

_NO_DELAY = """\
          # --drain-delay is 0, so the pod waits before it is told to stop: until then
          # clients may still be sent here.
          lifecycle:
            preStop:
              exec: {{command: ["sleep", "{seconds}"]}}
"""


def kubernetes(facts: Facts) -> str:
    """
    Write a Deployment and a Service.

    :raise ExportError: if the cluster cannot run in a container as it is.
    """
    found, delay = ports(facts), facts.settings.drain_delay
    wait = 0 if delay else _PRE_STOP
    return _MANIFEST.format(
        app=one_line(facts.app),
        name=facts.label,
        grace=int(stop_time(facts.settings)) + 1 + wait,
        args=_indented(12, map(_argument, arguments(facts))),
        ports=_indented(12, map(_container_port, found)),
        readiness=_readiness(facts, found[0]),
        lifecycle=_NO_DELAY.format(seconds=wait) if wait else "",
        affinity=_affinity(facts),
        services=_indented(4, (_service_port(each) for each in found if each.spec)),
    ) + _missing(facts)


def _argument(text: str) -> str:
    """Write an argument; ``$(NAME)`` would name a variable."""
    return quoted(text.replace("$(", "$$("))


def _container_port(port: Port) -> str:
    return f"{{name: {_name(port)}, containerPort: {port.number}}}"


def _service_port(port: Port) -> str:
    name = _name(port)
    return f"{{name: {name}, port: {port.number}, targetPort: {name}}}"


def _name(port: Port) -> str:
    kind = "port" if port.spec is None else _scheme(port)
    return f"{kind}-{port.number}"


def _scheme(port: Port) -> str:
    return "https" if isinstance(port.spec, AnyTlsListen) else "http"


def _readiness(facts: Facts, port: Port) -> str:
    """Ask on the public port if that can be asked, else on the control socket."""
    path, spec = facts.settings.health_path, port.spec
    asks_for_more = spec is None or spec.proxy is not None or getattr(spec, "ca", None)
    if path is None or asks_for_more:
        return '            exec: {command: ["clusterctl", "status"]}'
    scheme = _scheme(port).upper()
    words = f"path: {quoted(path)}, port: {_name(port)}, scheme: {scheme}"
    return f"            httpGet: {{{words}}}"


def _affinity(facts: Facts) -> str:
    key = facts.sticky
    if key is None:
        return ""
    if key.source == "client-ip":
        return "  # As --sticky client-ip, among pods.\n  sessionAffinity: ClientIP\n"
    return (
        f"  # With more than one pod, --sticky {facts.sticky_text} is to"
        " be done in front of them, too.\n"
    )


def _missing(facts: Facts) -> str:
    """Name the files that the flags name, and the pod does not have."""
    named = files(facts)
    if not named:
        return ""
    return "# Still to be mounted: " + ", ".join(named) + "\n"


def _indented(columns: int, items: Iterable[str]) -> str:
    return "\n".join(f"{' ' * columns}- {item}" for item in items)
