"""The ``X-Request-ID`` of a request, which proxies set and logs show."""

import re

from clusterapp.interfaces import Fields

#: The syntax of accepted request ids: a token (RFC 9110, section 5.6.2), of bounded
#: length.
REQUEST_ID = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")


def request_id_of(fields: Fields) -> str | None:
    """Return the first ``X-Request-ID`` of a request; None unless it is a token."""
    for name, value in fields:
        if len(name) == 12 and name.lower() == b"x-request-id":  # noqa: PLR2004
            return value.decode("ascii") if REQUEST_ID.fullmatch(value) else None
    return None
