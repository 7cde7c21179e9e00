"""The errors that are shown to operators, with the facts in their attributes."""

from collections.abc import Mapping, Sequence
from typing import Any


class ClusterError(Exception):
    """An error that the operator can correct; the text describes it."""

    #: The exit status of a program that this error ends.
    exit_status = 1


class SettingsError(ClusterError):
    """A setting has a wrong value, or a name that does not exist."""


class ListenError(ClusterError):
    """A listening socket cannot be created or inherited."""


class ReactorError(ClusterError):
    """The program's reactor cannot supervise child processes."""


class ApplicationLoadError(ClusterError):
    """
    The application cannot be imported, or is of an unsupported kind.

    :param spec: the application, as ``module:name``.
    :param reason: the cause, in one line.
    :param traceback: the traceback of the failed import; empty if there is none.
    """

    exit_status = 4

    def __init__(self, spec: str, reason: str, traceback: str = "") -> None:
        super().__init__(f"cannot load the application {spec!r}: {reason}")
        self.spec = spec
        self.reason = reason
        self.traceback = traceback


class StartHookError(ClusterError):
    """
    A start hook has failed; its exception is the cause (``__cause__``).

    :param hook: the qualified name of the hook, with its module.
    :param reason: the type and the message of the exception.
    """

    def __init__(self, hook: str, reason: str) -> None:
        super().__init__(f"the start hook {hook} failed: {reason}")


class NotInClusterError(ClusterError):
    """``app.cluster`` was used outside a worker or a core."""


class NeverReadyError(ClusterError):
    """No worker, or no core, has become ready since the start."""

    exit_status = 3


class OperationError(ClusterError):
    """A running cluster cannot do the requested operation; nothing was changed."""


class BusyError(OperationError):
    """Another operation is under way."""


class UnknownSlotError(OperationError):
    """There is no slot with that number."""


class ControlError(ClusterError):
    """`clusterctl` cannot do the requested operation."""


class ExportError(ControlError):
    """A configuration cannot be exported from a cluster's settings."""


class WrongRequestError(ControlError):
    """A value on the command line of `clusterctl` is wrong; nothing was changed."""

    exit_status = 2


class RefusedError(ControlError):
    """The cluster has refused an operation; nothing was changed."""

    exit_status = 3


class UnreachableError(ControlError):
    """There is no running cluster to connect to."""

    exit_status = 4


class SeveralClustersError(UnreachableError):
    """
    Several clusters are running, and none was selected.

    :param clusters: the facts of each: at least its socket's path.
    """

    def __init__(self, clusters: Sequence[Mapping[str, Any]]) -> None:
        super().__init__("several clusters run here; name one with --socket PATH")
        self.clusters = clusters


class CoreError(ClusterError):
    """A request could not be forwarded to the core."""


class CoreUnreachableError(CoreError):
    """No connection to the core could be made; the core has received nothing."""


class CoreUntrustedError(CoreError):
    """TLS with the core failed: one side does not accept the other's certificate."""


class CoreBrokenError(CoreError):
    """The connection to the core broke, or the core's response was not valid HTTP."""
