"""Interfaces and types that several packages share."""

from collections.abc import MutableSequence, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Protocol

from twisted.internet.interfaces import (
    IReactorCore,
    IReactorProcess,
    IReactorSocket,
    IReactorTime,
)

if TYPE_CHECKING:
    # A child reads its bootstrap before it imports anything of the web.
    from treq.client import HTTPClient

#: Header fields in the order received, with their names' original case.
Fields = Sequence[tuple[bytes, bytes]]

#: A worker's row on the scoreboard; see `clusterapp.listening.scoreboard`.
Row = MutableSequence[int]

#: The columns of a row: whether the worker accepts connections, the number of open
#: ones, the number received from the master so far, and the load, which is the number
#: of open and of recent connections, and more if the event loop is late.
SERVING: Final = 0
OPEN: Final = 1
RECEIVED: Final = 2
LOAD: Final = 3
COLUMNS: Final = 4


def private_row() -> Row:
    """Return a row that is not shared."""
    return [0] * COLUMNS


#: The role of a child process.
Role = Literal["worker", "core"]


@dataclass(frozen=True)
class StaticFolder:
    """
    The location of an application's static files.

    :param url: the prefix of their paths, such as ``"/static/"``.
    :param folder: the absolute path of the folder; symbolic links in it are kept.
    """

    url: str
    folder: str


class IClusterReactor(IReactorCore, IReactorProcess, IReactorSocket, IReactorTime):
    """The interfaces of a reactor that a cluster needs."""


class Cluster(Protocol):
    """
    The cluster that an application runs in: ``app.cluster``.

    Available in a worker and in the core; elsewhere ``app.cluster`` is an error.
    """

    @property
    def role(self) -> Role:
        """The role of this process: a worker, or the one that serves the core."""

    @property
    def slot(self) -> int:
        """The number of the worker's slot, from 0; -1 for the core."""

    @property
    def generation(self) -> int:
        """The version of code and settings that this process runs, from 1."""

    @property
    def core(self) -> "HTTPClient":
        """
        A treq client whose requests go to the core.

        Its URLs are written ``http://core/path``; the host is not resolved. It keeps no
        cookies.
        """
