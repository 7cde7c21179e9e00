"""Every error that an operator may read, with the facts inside."""

from collections.abc import Mapping, Sequence
from typing import Any


class ClusterError(Exception):
    """Something went wrong that the operator can mend; the text says what."""

    #: The exit status of a program that this error ends.
    exit_status = 1


class SettingsError(ClusterError):
    """A setting has a wrong value, or a name that does not exist."""


class ListenError(ClusterError):
    """A listening socket cannot be had."""


class ReactorError(ClusterError):
    """The program's reactor cannot supervise child processes."""


class ApplicationLoadError(ClusterError):
    """
    The application cannot be imported, or is of no kind that is known.

    :param spec: what was to be loaded, as ``module:name``.
    :param reason: what is wrong with it, in one line.
    :param traceback: the traceback of the failed import; empty if there is none.
    """

    exit_status = 4

    def __init__(self, spec: str, reason: str, traceback: str = "") -> None:
        super().__init__(f"cannot load the application {spec!r}: {reason}")
        self.spec = spec
        self.reason = reason
        self.traceback = traceback


class NotInClusterError(ClusterError):
    """``app.cluster`` was asked for outside a worker or a core."""


class NeverReadyError(ClusterError):
    """No worker ever became ready."""

    exit_status = 3


class OperationError(ClusterError):
    """A running cluster cannot do what it is asked to do; nothing was changed."""


class BusyError(OperationError):
    """Another operation is under way."""


class UnknownSlotError(OperationError):
    """There is no slot of that number."""


class ControlError(ClusterError):
    """`clusterctl` cannot do what it was asked to do."""


class ExportError(ControlError):
    """A configuration for another program cannot be made of a cluster's settings."""


class WrongRequestError(ControlError):
    """A value on the command line of `clusterctl` is wrong; nothing was changed."""

    exit_status = 2


class RefusedError(ControlError):
    """The cluster has refused an operation; nothing was changed."""

    exit_status = 3


class UnreachableError(ControlError):
    """No running cluster can be asked."""

    exit_status = 4


class SeveralClustersError(UnreachableError):
    """
    Which of several running clusters is meant is not known.

    :param clusters: what is known of each: its socket's path at the least.
    """

    def __init__(self, clusters: Sequence[Mapping[str, Any]]) -> None:
        super().__init__("several clusters run here; name one with --socket PATH")
        self.clusters = clusters


class CoreError(ClusterError):
    """A request could not be forwarded to the core."""


class CoreUnreachableError(CoreError):
    """No connection to the core could be made; it has received nothing."""


class CoreUntrustedError(CoreError):
    """TLS with the core failed: one side does not accept who the other is."""


class CoreBrokenError(CoreError):
    """The connection to the core broke, or what came over it was not HTTP."""
