"""Everything that a master and its children say to each other, as AMP commands."""

from typing import ClassVar

from twisted.protocols import amp


class Imported(amp.Command):
    """
    Worker to master: I have imported the application.

    The master imports it as well only if that has a core for it to host.
    """

    arguments: ClassVar = [(b"has_core", amp.Boolean())]


class Loaded(amp.Command):
    """
    Child on trial to master: I have done all that I can beside my predecessor.

    A worker could serve now, and answers what it is given by `Adopt`; a core has
    loaded its application, and not run its start hooks. Both wait for `Activate`.
    """


class Activate(amp.Command):
    """Master to child on trial: take your place."""


class Ready(amp.Command):
    """
    Child to master: I can take connections.

    A worker with static files says at which URL it serves them, and from which
    folder.
    """

    arguments: ClassVar = [
        (b"static_url", amp.Unicode(optional=True)),
        (b"static_folder", amp.Unicode(optional=True)),
    ]


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


class Report(amp.Command):
    """
    Worker to master, every second: my event loop runs, and this is what it does.

    `lag` is how late the loop was for this report, in seconds; `requests` is how
    many were answered so far, `active` how many are under way on how many
    `connections`; `passed_on` is how many requests it has passed to other workers so
    far; `rss` is the resident memory in bytes.
    """

    requiresAnswer = False
    arguments: ClassVar = [
        (b"lag", amp.Float()),
        (b"requests", amp.Integer()),
        (b"active", amp.Integer()),
        (b"connections", amp.Integer()),
        (b"passed_on", amp.Integer()),
        (b"rss", amp.Integer()),
    ]


class Drain(amp.Command):
    """
    Master to child: finish what you have, then leave.

    `spread` is in how many seconds what would not end by itself is to be ended;
    `hand_over` says whether idle connections can be given to other workers.
    """

    arguments: ClassVar = [
        (b"spread", amp.Float()),
        (b"hand_over", amp.Boolean()),
    ]


class Terminating(amp.Command):
    """Child to master: I have received SIGTERM, and drain."""


class HandOver(amp.Command):
    """
    Worker to master: let another worker serve this client's connection.

    Nothing that has been read of it is unanswered. If it is not `taken`, nobody
    else has it. `door` names the listener that it has come by. Whoever serves it must
    have read the `claim` (`clusterapp.channel.fd_claims`).
    """

    arguments: ClassVar = [
        (b"connection", amp.Descriptor()),
        (b"door", amp.Unicode()),
        (b"claim", amp.Descriptor(optional=True)),
    ]
    response: ClassVar = [(b"taken", amp.Boolean())]


class Adopt(amp.Command):
    """
    Master to worker: serve this client's connection, as if you had accepted it.

    If there is a `claim`, another worker has it and may take it back: then it is not
    `taken`.
    """

    arguments: ClassVar = [
        (b"connection", amp.Descriptor()),
        (b"door", amp.Unicode()),
        (b"claim", amp.Descriptor(optional=True)),
    ]
    response: ClassVar = [(b"taken", amp.Boolean())]


class Accept(amp.Command):
    """
    Master to worker: accept a listener's connections from this socket, and only this.

    `shared` says whether other workers accept from it as well.
    """

    arguments: ClassVar = [
        (b"listener", amp.Unicode()),
        (b"listening", amp.Descriptor()),
        (b"shared", amp.Boolean()),
    ]


class Refuse(amp.Command):
    """Master to worker: accept no connections of a listener by yourself."""

    arguments: ClassVar = [(b"listener", amp.Unicode())]


class UpdateAffinity(amp.Command):
    """
    Master to worker: whose requests belong to which worker from now on.

    `how` is what `clusterapp.channel.stickiness` writes, as JSON.
    """

    arguments: ClassVar = [(b"how", amp.Unicode())]


class ClusterHealth(amp.Command):
    """
    Master to worker: whether clients should be sent to this cluster from now on.

    `detail` says why, as JSON.
    """

    arguments: ClassVar = [
        (b"ready", amp.Boolean()),
        (b"detail", amp.Unicode()),
    ]


class Broken(amp.Command):
    """
    Master to worker, in development: the code as it is now cannot be loaded.

    `why` is to be shown to the developer; it is empty when the code is well again.
    """

    arguments: ClassVar = [(b"why", amp.Unicode())]


class ReopenLogs(amp.Command):
    """Master to worker: open the files of logs anew, for they have been renamed."""


class CoreReady(amp.Command):
    """
    Master to worker: from now on the core takes requests, or does not.

    `back` says, of one that does not, that it is being replaced: requests for it
    wait longer than for one that is broken.
    """

    arguments: ClassVar = [(b"ready", amp.Boolean()), (b"back", amp.Boolean())]
