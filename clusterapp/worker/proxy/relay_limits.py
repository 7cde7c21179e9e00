"""
Limits of the relay connections between two workers, which carry many clients' requests.

The first header field of each request names its client; applications do not see that
field. Only workers can connect here, so it is trusted; on every other connection a
field of that name has no meaning.
"""

from dataclasses import replace

from clusterapp.http.connection_limits import Limits
from clusterapp.http.syntax.client_origin import OWN_BYTES, OWN_FIELDS
from clusterapp.http.upstream.core_agent import IDLE_TIMEOUT


def relayed_limits(limits: Limits) -> Limits:
    """
    Return the limits of relay connections.

    A request that the other worker has accepted from its client must be accepted here,
    too. And the other worker has a keep-alive timeout of its own, which must be shorter
    than the one here, so that no request crosses a close.

    :param limits: the limits of client connections.
    """
    return replace(
        limits,
        head=limits.head + OWN_BYTES + limits.fields,
        fields=limits.fields + OWN_FIELDS,
        keepalive_timeout=max(limits.keepalive_timeout, 2 * IDLE_TIMEOUT),
        requests=None,
    )
