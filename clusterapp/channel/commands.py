"""The AMP commands of the control channel between a master and its children."""

from typing import ClassVar

from twisted.protocols import amp


class Imported(amp.Command):
    """
    Worker to master: the application has been imported.

    The master imports it as well only if the application has a core that the master has
    to host.
    """

    arguments: ClassVar = [(b"has_core", amp.Boolean())]


class Loaded(amp.Command):
    """
    Canary to master: everything is done that can be done beside the predecessor.

    A worker could serve now, and serves connections that it receives by `Adopt`; a core
    has loaded its application, but not run its start hooks. Both wait for `Activate`.
    """


class Activate(amp.Command):
    """Master to canary: start to serve in the predecessor's place."""


class Ready(amp.Command):
    """
    Child to master: the child can accept connections.

    A worker with static files sends the URL under which it serves them, and their
    folder.
    """

    arguments: ClassVar = [
        (b"static_url", amp.Unicode(optional=True)),
        (b"static_folder", amp.Unicode(optional=True)),
    ]


class Failed(amp.Command):
    """
    Child to master: the child cannot start, and is about to exit.

    `loading` is true if the application could not be loaded, false if a start hook
    failed. `traceback` is cut to the longest value of AMP.
    """

    arguments: ClassVar = [
        (b"loading", amp.Boolean()),
        (b"reason", amp.Unicode()),
        (b"traceback", amp.Unicode()),
    ]


class Report(amp.Command):
    """
    Worker to master, every second: the event loop runs; its current figures.

    `lag` is how late the loop was for this report, in seconds; `requests` is the number
    of requests answered so far, `active` the number of requests under way and
    `connections` the number of open connections; `relayed` is the number of requests
    forwarded to other workers so far; `rss` is the resident memory in bytes.
    """

    requiresAnswer = False
    arguments: ClassVar = [
        (b"lag", amp.Float()),
        (b"requests", amp.Integer()),
        (b"active", amp.Integer()),
        (b"connections", amp.Integer()),
        (b"relayed", amp.Integer()),
        (b"rss", amp.Integer()),
    ]


class Drain(amp.Command):
    """
    Master to child: finish the open requests, then exit.

    `spread` is the time, in seconds, over which connections that would not end by
    themselves are closed; `hand_over` is whether idle connections can be transferred to
    other workers. `within` is the time in which all has to be finished, if it is less
    than the graceful timeout.
    """

    arguments: ClassVar = [
        (b"spread", amp.Float()),
        (b"hand_over", amp.Boolean()),
        (b"within", amp.Float(optional=True)),
    ]


class Terminating(amp.Command):
    """Child to master: the child has received SIGTERM, and drains."""


class HandOver(amp.Command):
    """
    Worker to master: transfer a client's connection to another worker.

    Every request that has been read from the connection has been answered. If the
    response's `taken` is false, no other worker has the connection. `listener` is the
    name of its listener. The process that serves it must have read the `claim`
    (`clusterapp.channel.fd_claims`).
    """

    arguments: ClassVar = [
        (b"connection", amp.Descriptor()),
        (b"listener", amp.Unicode()),
        (b"claim", amp.Descriptor(optional=True)),
    ]
    response: ClassVar = [(b"taken", amp.Boolean())]


class Adopt(amp.Command):
    """
    Master to worker: serve a client's connection as if the worker had accepted it.

    If there is a `claim`, another worker still has the connection and may take it back:
    then the response's `taken` is false.
    """

    arguments: ClassVar = [
        (b"connection", amp.Descriptor()),
        (b"listener", amp.Unicode()),
        (b"claim", amp.Descriptor(optional=True)),
    ]
    response: ClassVar = [(b"taken", amp.Boolean())]


class Accept(amp.Command):
    """
    Master to worker: accept the connections of a listener from this socket only.

    `shared` says whether other workers accept from it as well.
    """

    arguments: ClassVar = [
        (b"listener", amp.Unicode()),
        (b"listening", amp.Descriptor()),
        (b"shared", amp.Boolean()),
    ]


class Refuse(amp.Command):
    """Master to worker: stop accepting connections of a listener."""

    arguments: ClassVar = [(b"listener", amp.Unicode())]


class UpdateAffinity(amp.Command):
    """
    Master to worker: the session affinity that holds from now on.

    `how` is a `clusterapp.channel.stickiness.Stickiness` as JSON.
    """

    arguments: ClassVar = [(b"how", amp.Unicode())]


class ClusterHealth(amp.Command):
    """
    Master to worker: whether the cluster is ready to receive requests.

    `detail` holds the reasons, as JSON.
    """

    arguments: ClassVar = [
        (b"ready", amp.Boolean()),
        (b"detail", amp.Unicode()),
    ]


class Broken(amp.Command):
    """
    Master to worker, in development: the current code cannot be loaded.

    `why` is the error to show to the developer; it is empty when the code can be loaded
    again.
    """

    arguments: ClassVar = [(b"why", amp.Unicode())]


class ReopenLogs(amp.Command):
    """Master to worker: reopen the log files, which have been renamed."""


class CoreReady(amp.Command):
    """
    Master to worker: whether the core accepts requests from now on.

    `back` says of a core that is not ready that it is being replaced: requests for it
    wait longer than for one that has failed.
    """

    arguments: ClassVar = [(b"ready", amp.Boolean()), (b"back", amp.Boolean())]
