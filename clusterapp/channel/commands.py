"""Everything that a master and its children say to each other, as AMP commands."""

from typing import ClassVar

from twisted.protocols import amp


class Ready(amp.Command):
    """Child to master: I can take connections."""


class Failed(amp.Command):
    """
    Child to master: I cannot start, for this reason; I am about to leave.

    `loading` tells an application that cannot be loaded from a start hook that
    failed. `traceback` is cut to what one AMP value holds.
    """

    arguments: ClassVar = [
        (b"loading", amp.Boolean()),
        (b"reason", amp.Unicode()),
        (b"traceback", amp.Unicode()),
    ]


class Drain(amp.Command):
    """Master to child: finish what you have, then leave."""


class ReopenLogs(amp.Command):
    """Master to worker: open the files of logs anew, for they have been renamed."""


class CoreReady(amp.Command):
    """Master to worker: from now on the core takes requests, or does not."""

    arguments: ClassVar = [(b"ready", amp.Boolean())]
