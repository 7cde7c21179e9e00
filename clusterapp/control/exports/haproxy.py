"""The configuration of HAProxy: made for Debian's 2.6."""

from collections.abc import Iterator

from clusterapp.control.exports.facts import Facts, Place, Public
from clusterapp.control.exports.words import (
    answer_timeout,
    idle_timeout,
    one_line,
    span,
)
from clusterapp.dispatch.keys import Key
from clusterapp.errors import ExportError
from clusterapp.settings.listen import AnyTlsListen

#: The weight of a worker that does not lag. HAProxy's are from 0 to 256, and agents
#: tell per cent of this one, so that it must not be 1.
_WEIGHT = 100

_PROXIES = """\
# HAProxy in front of {app}, written by: clusterctl export haproxy
#
# A file beside Debian's own: haproxy -f /etc/haproxy/haproxy.cfg -f FILE. Export it
# anew when the settings or the number of workers have changed.

defaults {name}
    mode http
    timeout connect 5s
    # As --header-timeout.
    timeout http-request {header}
    # Less than --keepalive-timeout: who closes first loses no request.
    timeout http-keep-alive {idle}
    # {why_answer}
    timeout client {answer}
    timeout server {answer}
    # How long a WebSocket may be silent.
    timeout tunnel 1h

frontend {name} from {name}
    bind :80
    option forwardfor
    http-request set-header X-Forwarded-Proto https if {{ ssl_fc }}
    http-request set-header X-Forwarded-Proto http unless {{ ssl_fc }}
    http-request set-header X-Forwarded-Host %[req.hdr(Host)]
    # Workers would believe what a client has written there.
    http-request del-header Forwarded
    default_backend {name}_workers

backend {name}_workers from {name}
    # A request whose worker dies goes to another one, unless it might be done twice.
    retries 2
    option redispatch 1
    retry-on conn-failure empty-response
    http-request disable-l7-retry unless METH_GET
    http-reuse safe
"""


def haproxy(facts: Facts) -> str:
    """
    Write HAProxy's configuration.

    :raise ExportError: if HAProxy cannot do what the settings ask of it.
    """
    settings = facts.settings
    if settings.sendfile_header is not None:
        raise ExportError(
            f"sendfile_header is {settings.sendfile_header}, and HAProxy sends no"
            " files: without that setting workers send them"
        )
    text = _PROXIES.format(
        app=one_line(facts.app),
        name=facts.label.replace("-", "_"),
        header=span(settings.header_timeout),
        idle=span(idle_timeout(settings)),
        answer=span(answer_timeout(settings)),
        why_answer=_why_answer(facts),
    )
    return text + "".join(f"    {line}\n" for line in _backend(facts))


def _why_answer(facts: Facts) -> str:
    if facts.settings.request_timeout is None:
        return "There is no --request-timeout: HAProxy is patient; workers are watched."
    return "More than --request-timeout and --core-timeout: our 503 or 504 comes first."


def _backend(facts: Facts) -> Iterator[str]:
    if facts.workers:
        yield from _balance(facts)
        yield from _health(facts, "")
        yield from _doubts(facts, next(iter(facts.workers.values())))
        yield "# The master keeps these ports open while a worker is replaced."
        yield from _workers(facts)
        return
    public = facts.public(with_proxy=True)
    yield "# The public port; with --worker-ports HAProxy would choose the worker."
    yield from _health(facts, " check-send-proxy" if public.spec.proxy else "")
    yield from _doubts(facts, public.place)
    yield f"server public {_address(public.place)}{_public_words(public)}"


def _balance(facts: Facts) -> Iterator[str]:
    """Choose a worker as the cluster would."""
    key = facts.sticky
    if key is None:
        yield "balance leastconn"
    elif key.source == "cookie":
        yield f"# As --sticky {facts.sticky_text}, but HAProxy makes the cookie."
        yield "# With TLS (bind … ssl) add the word secure."
        yield "balance leastconn"
        yield (
            f"cookie {_quoted(key.name)} insert indirect nocache httponly"
            " attr SameSite=Lax"
        )
    else:
        yield f"# As --sticky {facts.sticky_text}; who has none gets any worker."
        yield f"balance {_hashed(key)}"
        yield "hash-type consistent"


def _hashed(key: Key) -> str:
    match key.source:
        case "header":
            return f"hdr({key.name})"
        case "query":
            return f"url_param {_quoted(key.name)}"
        case _:
            return "source"


def _health(facts: Facts, more: str) -> Iterator[str]:
    path = facts.settings.health_path
    if path is None:
        yield "# Only whether the port is open: with --health-path it would be asked"
        yield "# whether the cluster is ready."
    else:
        yield f"option httpchk GET {path}"
        yield "http-check expect status 200"
    yield f"default-server check{more} inter 2s fall 3 rise 1 weight {_WEIGHT}"


def _workers(facts: Facts) -> Iterator[str]:
    agent, key = facts.agent, facts.sticky
    if agent is not None:
        host = f"agent-addr {agent.host} agent-port {agent.port}"
        yield "# The master tells whether a worker serves, and how busy it is."
        yield f"default-server agent-check {host} agent-inter 2s"
    else:
        yield "# With --agent-check HAProxy would hear how busy each worker is."
    for slot, place in facts.workers.items():
        words = [f"server slot{slot} {place}"]
        if key is not None and key.source == "cookie":
            words.append(f"cookie {slot}")
        if agent is not None:
            stays = "" if key is None else " sticky"
            words.append(rf'agent-send "slot {slot}{stays}\n"')
        yield " ".join(words)


def _doubts(facts: Facts, place: Place) -> Iterator[str]:
    if not facts.trusts(place):
        yield "# NOT YET RIGHT: --trusted-proxies does not name where HAProxy comes"
        yield "# from, so that workers take it for the client of all requests."


def _public_words(public: Public) -> str:
    """Say how the public listener is spoken to."""
    words = ""
    if isinstance(public.spec, AnyTlsListen):
        words += " ssl verify none"  # nothing leaves this machine
    if public.spec.proxy is not None:
        words += " send-proxy" if public.spec.proxy == "v1" else " send-proxy-v2"
    return words


def _address(place: Place) -> str:
    return str(place) if place.port is not None else _quoted(f"unix@{place}")


def _quoted(text: str) -> str:
    """Write text that means nothing but itself, in strong quotes."""
    if "'" in text:
        raise ExportError(f"{text} has a quote in it, which HAProxy cannot be told")
    return f"'{one_line(text)}'"
