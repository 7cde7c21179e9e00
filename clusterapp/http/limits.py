"""What a client may ask of a connection: sizes, times and numbers."""

from dataclasses import dataclass, replace
from typing import Self

#: Bytes a second below which a body that is being read is too slow, and the seconds
#: over which that is measured; the end of a short one may take as long, too.
BODY_RATE = 240
BODY_WINDOW = 30.0

#: Seconds for which a client may take nothing of a response, or so little that what
#: waits for it, up to 64 KiB, does not go down to a quarter: about `BODY_RATE`.
WRITE_STALL = 200.0

#: The bytes of further requests that are held while one is being answered; then
#: nothing more is read.
MAX_PENDING_INPUT = 64 * 1024

#: The pipelined requests that are served at once; those behind them wait for the
#: next turn of the event loop, so that other clients have theirs. Fewer where many
#: connections have some that wait: one of each at least.
PIPELINED = 16

#: The chunks of a body that are read in one turn of the event loop, shared as above.
#: And those of one read above which no more is read in the same turn: uvloop reads up
#: to 32 times in each.
CHUNKS = 2048
MANY_CHUNKS = 256

#: The bytes of a field's name; beyond is a 431. Libraries keep the names that they have
#: seen, and the longest that is registered has 46.
LONGEST_NAME = 256

#: The bytes of a body that are kept in memory; a longer one goes to a file.
BODY_IN_MEMORY = 64 * 1024

#: How much of a body that nobody wants is read for the sake of the connection, in
#: bytes and in seconds.
DISCARD_LIMIT = 1024 * 1024
DISCARD_SECONDS = 30.0

#: How long a client may read the response of a connection we have closed, in s.
LINGER_SECONDS = 10.0

#: How long a client may take to answer our close_notify when all is written, in s. RFC
#: 8446, section 6.1, asks nobody to wait for it, but some clients (uvloop's transports)
#: lose what they have not read yet when the end of the TCP connection comes at once.
CLOSE_NOTIFY_SECONDS = 1.0

#: How long a client may take to answer the close frame of a WebSocket, in s.
GOODBYE_SECONDS = 2.0

#: How long a connection that has brought nothing yet holds up a drain, in s.
FIRST_REQUEST_SECONDS = 1.0

#: How long an idle connection from another process of a cluster may take to close
#: once it was told that its server drains, in s: only a process that stands still
#: takes longer than a moment.
CLOSE_NOTICE_SECONDS = 5.0


#: What a worker may add to a request that it forwards to the core: the fields of
#: forwarding, a Host, and what frames the body and switches protocols. The bytes of
#: one field may come up to three times: an X-Forwarded-Host stays, and stands in
#: Forwarded as well, where quotation marks and backslashes are escaped. Hops that are
#: written in the other list, too, are at most a hundred.
_FORWARDING_FIELDS = 8
_FORWARDING_FACTOR = 3
_FORWARDING_BYTES = 16 * 1024


@dataclass(frozen=True, kw_only=True)
class Limits:
    """
    The bounds of one site's connections.

    :param request_line: bytes of a request line, without its end; beyond is a 414.
    :param head: bytes of a head in all; beyond is a 431.
    :param fields: lines of a head, or after a chunked body; beyond is a 431.
    :param body: bytes of a body; beyond is a 413. None for no bound.
    :param message: bytes of a WebSocket's message, over all its frames; beyond, the
        connection is closed with 1009.
    :param form_fields: fields, or parts, of a form that an application asks for;
        beyond is a 413.
    :param form_size: bytes of such a form, those of files aside; beyond is a 413.
    :param header_timeout: seconds from a head's first byte to its last; then a 408.
    :param keepalive_timeout: seconds that a connection may be open without a
        request; it is then closed.
    :param first_request_timeout: seconds that a new connection may take to bring its
        first byte, a TLS handshake included; None for the `keepalive_timeout`.
    :param requests: the requests that one connection may bring; the last one's
        response says that it closes. None for no bound.
    :param request_timeout: seconds from a request's end to the first of its
        response; then a 503, or a 504 if it was forwarded. None for no bound.
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
        Return the bounds of the same requests once a worker has forwarded them.

        What a worker has taken from its client, the core takes as well.
        """
        return replace(
            self,
            head=_FORWARDING_FACTOR * self.head + _FORWARDING_BYTES,
            fields=self.fields + _FORWARDING_FIELDS,
        )
