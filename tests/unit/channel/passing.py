"""A channel in memory over which descriptors can be passed."""

import os
from typing import Any

from twisted.test.iosim import FakeTransport, IOPump


class PassingTransport(FakeTransport):
    """A transport over which descriptors can be passed, as over a Unix socket."""

    far: "PassingTransport | None" = None

    def sendFileDescriptor(self, descriptor: int) -> None:
        """
        Deliver a duplicate to the other end, before any later bytes.

        :raise ValueError: if the channel is gone, as Twisted's own transports do.
        """
        if self.disconnecting:
            raise ValueError("file descriptor cannot be a negative integer (-1)")
        assert self.far is not None
        self.far.protocol.fileDescriptorReceived(os.dup(descriptor))


def joined(near: PassingTransport, far: PassingTransport) -> IOPump:
    """Join the transports of a server and of a client, whose protocols have them."""
    near.far, far.far = far, near
    return IOPump(far.protocol, near.protocol, far, near, debug=False)


def channel(server: Any, client: Any) -> IOPump:
    """Connect two protocols."""
    near = PassingTransport(server, isServer=True)
    far = PassingTransport(client, isServer=False)
    server.makeConnection(near)
    client.makeConnection(far)
    return joined(near, far)
