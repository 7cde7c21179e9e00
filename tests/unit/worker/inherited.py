"""What a worker inherits from its master, as descriptors of this process."""

import os
import socket
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from clusterapp.channel.bootstrap import PRIVATE, QUEUE, SCOREBOARD
from clusterapp.channel.stickiness import Stickiness
from clusterapp.listening.scoreboard import OwnScoreboard

#: The name of the only listener.
LISTENER = "0 tcp:0"


def inherited(
    listening: socket.socket, add_cleanup: Callable[..., Any]
) -> Mapping[str, Any]:
    """
    Make what a worker inherits beside a listening socket, and what it is told of it.

    :param listening: the socket of the only listener; it stays the caller's.
    :param add_cleanup: the test's.
    :return: the words of a `Bootstrap`.
    """
    folder = tempfile.TemporaryDirectory(prefix="clusterapp-")
    add_cleanup(folder.cleanup)
    board = OwnScoreboard()
    add_cleanup(board.close)
    queue, sending = socket.socketpair()
    add_cleanup(sending.close)
    queue.setblocking(False)
    private = socket.socket(socket.AF_UNIX)
    private.bind(str(Path(folder.name) / "worker-3.sock"))
    private.listen()
    return {
        "sockets": {
            LISTENER: listening.dup().detach(),
            SCOREBOARD: os.dup(board.descriptor),
            QUEUE: queue.detach(),
            PRIVATE: private.detach(),
        },
        "listeners": (LISTENER,),
        "shared": (LISTENER,),
        "row": board.take(),
        "stickiness": Stickiness((), "cookie", (), "00").as_mapping(),
    }
