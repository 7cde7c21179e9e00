"""What may stand in a Host field, or as the authority of a target."""

import re
from functools import lru_cache
from typing import Final

#: RFC 9110, section 7.2: a host and a port, without user information. It may be
#: empty, for a target that has no authority.
_HOST: Final = re.compile(
    rb"(?:\[(?:[0-9A-Fa-f:.]+|[vV][0-9A-Fa-f]+\.[A-Za-z0-9._~!$&'()*+,;=:-]+)\]"
    rb"|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)"
    rb"(?::[0-9]*)?"
)

#: The longest Host that is remembered, in bytes: a name has at most 253 (RFC 1035,
#: section 2.3.4), and a port six.
_LONGEST_HOST: Final = 260


def is_host(text: bytes) -> bool:
    """Return whether a text is a host, with or without a port."""
    # Clients choose the text: a long one is not kept.
    return _is_known_host(text) if len(text) <= _LONGEST_HOST else _matches(text)


def _matches(text: bytes) -> bool:
    return _HOST.fullmatch(text) is not None


_is_known_host = lru_cache(1024)(_matches)
