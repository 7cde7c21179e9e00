"""
TLS alerts of failed handshakes (RFC 8446, section 6.2).

OpenSSL writes an alert into the outgoing buffer of the connection, but uvloop's
transports are aborted without sending the content of that buffer.
"""

import socket
import ssl
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

#: The socket of the connection whose transport is being made in this context.
connecting: ContextVar[socket.socket | None] = ContextVar("connecting", default=None)


class AlertingObject(ssl.SSLObject):
    """TLS object of a connection that sends the alert of a failed handshake."""

    outgoing: ssl.MemoryBIO | None = None
    connection: socket.socket | None = None

    def do_handshake(self) -> None:
        """Continue the handshake; if it fails, send the alert."""
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError:
            self._send_alert()
            raise
        self.outgoing = self.connection = None

    def _send_alert(self) -> None:
        if self.outgoing is None or self.connection is None:
            return
        alert = self.outgoing.read()
        # The socket buffer always has room for it, unless the client reads nothing.
        with suppress(OSError):
            self.connection.send(alert)


class AlertingContext(ssl.SSLContext):
    """TLS context of a server that sends an alert when a handshake fails."""

    sslobject_class = AlertingObject

    def wrap_bio(
        self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *args: Any, **named: Any
    ) -> ssl.SSLObject:
        """Return a TLS object; called by an event loop's transport."""
        made = super().wrap_bio(incoming, outgoing, *args, **named)
        if isinstance(made, AlertingObject):
            made.outgoing, made.connection = outgoing, connecting.get()
        return made
