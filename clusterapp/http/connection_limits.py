"""The limits of a client's connection: sizes, times and numbers."""

from dataclasses import dataclass, replace
from typing import Self

#: The lowest rate of a body being received, in bytes per second, and the seconds over
#: which it is measured; the end of a short body may take as long, too.
BODY_RATE = 240
BODY_WINDOW = 30.0

#: The seconds for which a client may read nothing of a response, or so little that the
#: send buffer, up to 64 KiB, does not drain to a quarter: about `BODY_RATE`.
WRITE_STALL = 200.0

#: The most bytes of pipelined requests that are buffered while one is being answered;
#: then reading is paused.
MAX_PENDING_INPUT = 64 * 1024

#: The pipelined requests that are served at once; further ones wait for the next
#: iteration of the event loop, so that other clients are served. Fewer if many
#: connections have waiting requests: at least one of each.
PIPELINED = 16

#: The chunks of a body that are parsed in one iteration of the event loop, shared as
#: above; and the chunks of one read above which reading pauses for the iteration:
#: uvloop reads up to 32 times in each.
CHUNKS = 2048
MANY_CHUNKS = 256

#: The longest field name in bytes; a longer one is a 431. Libraries cache the names
#: that they have seen, and the longest registered name has 46.
LONGEST_NAME = 256

#: The most bytes of a body that are kept in memory; a longer one is written to a file.
BODY_IN_MEMORY = 64 * 1024

#: How much of an unwanted body is read to keep the connection usable, in bytes and in
#: seconds.
DISCARD_LIMIT = 1024 * 1024
DISCARD_SECONDS = 30.0

#: How long a lingering close waits for the client to close, in seconds, where the
#: client has sent input that is not read: it may send more.
LINGER_SECONDS = 10.0

#: Seconds between two checks of whether the client's kernel has acknowledged all that
#: was sent, after which a lingering close needs to wait no longer.
LINGER_CHECK = 1.0

#: How long a client may take to answer our close_notify when all is written, in
#: seconds. RFC 8446, section 6.1, does not require waiting for it, but some clients
#: (uvloop's transports) lose unread data when the end of the TCP connection comes at
#: once.
CLOSE_NOTIFY_SECONDS = 1.0

#: How long a client may take to answer the close frame of a WebSocket, in seconds.
CLOSE_FRAME_SECONDS = 2.0

#: How long a connection that has sent nothing yet delays a drain, in seconds.
FIRST_REQUEST_SECONDS = 1.0

#: How long an idle connection from another process of a cluster may take to close after
#: the close notice of a draining server, in seconds: only a blocked process takes
#: longer than a moment.
CLOSE_NOTICE_SECONDS = 5.0


#: The most that a worker may add to a request that it forwards to the core: the
#: forwarding fields, a Host, and the fields for framing and for switching protocols.
#: The bytes of one field may be sent up to three times: an X-Forwarded-Host is kept,
#: and is repeated in Forwarded, where quotation marks and backslashes are escaped. At
#: most a hundred hops are repeated in the other list.
_FORWARDING_FIELDS = 8
_FORWARDING_FACTOR = 3
_FORWARDING_BYTES = 16 * 1024


@dataclass(frozen=True, kw_only=True)
class Limits:
    """
    The limits of one site's connections.

    :param request_line: bytes of a request line, without its line end; beyond, a 414.
    :param head: bytes of a complete head; beyond, a 431.
    :param fields: lines of a head, or of trailers; beyond, a 431.
    :param body: bytes of a body; beyond, a 413. None for no limit.
    :param message: bytes of a WebSocket message, over all its frames; beyond, the
        connection is closed with 1009.
    :param form_fields: fields, or parts, of a form that an application accesses;
        beyond, a 413.
    :param form_size: bytes of such a form, without its files; beyond, a 413.
    :param header_timeout: seconds from a head's first byte to its last; then a 408.
    :param keepalive_timeout: seconds that a connection may be open without a request;
        then it is closed.
    :param first_request_timeout: seconds until the first byte of a new connection, a
        TLS handshake included; None for the `keepalive_timeout`.
    :param requests: requests per connection; the last response announces the close.
        None for no limit.
    :param request_timeout: seconds from the end of a request to the first byte of its
        response; then a 503, or a 504 if it was forwarded. None for no limit.
    """

    request_line: int = 8 * 1024
    head: int = 32 * 1024
    fields: int = 100
    body: int | None = 16 * 1024 * 1024
    message: int = 16 * 1024 * 1024
    form_fields: int = 1000
    form_size: int = 2 * 1024 * 1024
    header_timeout: float = 30.0
    keepalive_timeout: float = 65.0
    first_request_timeout: float | None = None
    requests: int | None = 1000
    request_timeout: float | None = None

    def of_forwarded(self) -> Self:
        """
        Return the limits of the same requests once a worker has forwarded them.

        The core accepts every request that a worker has accepted from its client.
        """
        return replace(
            self,
            head=_FORWARDING_FACTOR * self.head + _FORWARDING_BYTES,
            fields=self.fields + _FORWARDING_FIELDS,
        )
