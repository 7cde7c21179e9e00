"""The contracts between siblings: what one part may ask of another."""

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
    # A child reads its bootstrap before it loads anything of the web.
    from treq.client import HTTPClient

#: Header fields in the order of the wire, names as they were written there.
Fields = Sequence[tuple[bytes, bytes]]

#: A worker's row on the scoreboard; `clusterapp.listening.scoreboard` says more.
Row = MutableSequence[int]

#: The columns of a row: whether the worker takes connections, how many it has open,
#: how many it has received from the master so far, and how much it has to do, which
#: is those, and those that came of late, and more if its event loop is late.
SERVING: Final = 0
OPEN: Final = 1
RECEIVED: Final = 2
LOAD: Final = 3
COLUMNS: Final = 4


def private_row() -> Row:
    """Make a row that nobody else sees."""
    return [0] * COLUMNS


#: What a child process is for.
Role = Literal["worker", "core"]


@dataclass(frozen=True)
class StaticFolder:
    """
    Where an application's static files are.

    :param url: what their paths begin with, such as ``"/static/"``.
    :param folder: the absolute path of the folder; symbolic links in it are kept.
    """

    url: str
    folder: str


class IClusterReactor(IReactorCore, IReactorProcess, IReactorSocket, IReactorTime):
    """The parts of a reactor that a cluster needs."""


class Cluster(Protocol):
    """
    What an application may know of the cluster it runs in: ``app.cluster``.

    In a worker and in the core; elsewhere ``app.cluster`` is an error.
    """

    @property
    def role(self) -> Role:
        """Whether this process is a worker, or serves the core."""

    @property
    def slot(self) -> int:
        """The number of the worker's place, from 0; the core's is -1."""

    @property
    def generation(self) -> int:
        """The version of code and settings that this process runs, from 1."""

    @property
    def core(self) -> "HTTPClient":
        """
        A treq client whose requests go to the core.

        Its URLs are written ``http://core/path``; the host is not looked up.
        It keeps no cookies.
        """
