"""The settings of distribution: which worker gets whose connections and requests."""

import re
from dataclasses import dataclass, field

from clusterapp.settings.counts import Port
from clusterapp.settings.kinds import Choice, Kind
from clusterapp.settings.listen import DISPATCHES, TcpListen, parse
from clusterapp.settings.problems import WrongValueError
from clusterapp.settings.table import about

_STICKY = re.compile(
    # RFC 9110, section 5.6.2: names of fields and of cookies are tokens.
    r"client-ip|cookie|(?:cookie|header|query):(?P<name>[!#$%&'*+.^_`|~0-9A-Za-z-]+)"
)


class StickyKey(Kind):
    """What a client is known by, so that it stays with its worker."""

    metavar = "KEY"

    def check(self, value: object) -> str:
        """Judge ``client-ip``, ``cookie[:NAME]``, ``header:NAME``, ``query:NAME``."""
        if isinstance(value, str) and _STICKY.fullmatch(value):
            return value
        raise WrongValueError(
            value,
            "must be client-ip, cookie, cookie:NAME, header:NAME or query:NAME",
        )


class AgentListener(Kind):
    """Where HAProxy's agent checks are answered."""

    metavar = "SPEC"

    def check(self, value: object) -> str:
        """Judge a ``tcp:`` spec that says nothing of clients' connections."""
        listener = parse(value) if isinstance(value, str) else None
        if isinstance(listener, TcpListen) and _is_plain(listener):
            return str(value)
        raise WrongValueError(
            value,
            "must be a TCP port, as in tcp:9990:interface=127.0.0.1, without"
            " dispatch and proxy",
        )


def _is_plain(listener: TcpListen) -> bool:
    """Tell whether nothing is said of what only clients' connections have."""
    return listener.dispatch is None and listener.proxy is None


@dataclass(frozen=True, kw_only=True)
class Distributing:
    """The part of `Settings` that says which worker gets what."""

    dispatch: str = field(
        default="shared",
        metadata=about(
            kind=Choice(DISPATCHES, "POLICY"),
            help="How connections are distributed: shared, reuseport, round-robin, "
            "least-connections or sticky.",
            example="least-connections",
        ),
    )
    sticky: str = field(
        default="cookie",
        metadata=about(
            kind=StickyKey(),
            help="What a client is known by where dispatch is sticky: client-ip, "
            "cookie[:NAME], header:NAME or query:NAME.",
            example="header:X-Session",
        ),
    )
    worker_ports: int | None = field(
        default=None,
        metadata=about(
            kind=Port(),
            help="The first of the ports at which each worker can be reached alone, "
            "for a balancer in front.",
            example=3001,
            unset="none",
        ),
    )
    agent_check: str | None = field(
        default=None,
        metadata=about(
            kind=AgentListener(),
            help="Where the master answers HAProxy's agent checks, with a weight for "
            "each worker from the lag of its event loop: tcp: only.",
            example="tcp:9990:interface=127.0.0.1",
            unset="none",
        ),
    )
