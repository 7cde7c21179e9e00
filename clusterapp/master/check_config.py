"""``--check-config``: read and load what a start would, without starting anything."""

import os
import sys
from typing import Any

from clusterapp.channel.bootstrap import DEMO
from clusterapp.master.rollout.generation import LaunchContext
from clusterapp.master.workers.worker_count import check_size, too_few_to_be_ready
from clusterapp.settings.model import Settings
from clusterapp.web.hosting import check_tls
from clusterapp.web.loading import load

#: What cannot be checked without binding or locking something, or running hooks.
_NOT_CHECKED = (
    "not checked, since a running cluster may have them: whether the sockets, the"
    " state folder and the logs can be had; start hooks are not run"
)


def check_config(reactor: Any, settings: Settings) -> str:
    """
    Read the settings and load the application as a start would.

    Nothing is bound, locked or written, so that it can be done beside a running
    cluster. It changes the working folder and the import path of this process.

    :param reactor: the reactor of this process.
    :param settings: the operator's settings.
    :return: what was checked and what was not, as text for people.
    :raise ClusterError: if a check fails.
    """
    check_size(settings)
    # The master reads these files relative to the folder that it is started in,
    # workers relative to their working folder.
    check_tls(reactor, settings)
    generation = LaunchContext().take(1, settings)
    os.chdir(generation.folder)
    sys.path[:] = generation.path
    check_tls(reactor, settings)
    load(settings.app, settings.core_app, reactor)
    return (
        f"configuration ok\n{too_few_to_be_ready(settings)}"
        f"checked: the settings, the files of TLS, and that {settings.app or DEMO} can"
        f" be loaded in {generation.folder}\n{_NOT_CHECKED}\n"
    )
