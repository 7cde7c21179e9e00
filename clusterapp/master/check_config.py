"""``--check-config``: all that a start would read and load, and nothing else."""

import os
import sys
from typing import Any

from clusterapp.channel.bootstrap import DEMO
from clusterapp.master.rollout.generation import Surroundings
from clusterapp.master.workers.worker_count import check_size, too_few_to_be_ready
from clusterapp.settings.model import Settings
from clusterapp.web.hosting import check_tls
from clusterapp.web.loading import load

#: What no check can tell: for that, something would have to be taken or run.
_NOT_CHECKED = (
    "not checked, since a running cluster may have them: whether the sockets, the"
    " state folder and the logs can be had; start hooks are not run"
)


def check_config(reactor: Any, settings: Settings) -> str:
    """
    Read and load what a start would, where its workers would find it.

    Nothing is bound, locked or written, so that it can be done beside a running
    cluster. It changes the working folder and the import path of this process.

    :param reactor: the reactor of this process.
    :param settings: what the operator chose.
    :return: what was checked, for people, and what was not.
    :raise ClusterError: if something is wrong.
    """
    check_size(settings)
    # The master reads these files from where it is started, workers from where they
    # work.
    check_tls(reactor, settings)
    generation = Surroundings().take(1, settings)
    os.chdir(generation.folder)
    sys.path[:] = generation.path
    check_tls(reactor, settings)
    load(settings.app, settings.core_app, reactor)
    return (
        f"configuration ok\n{too_few_to_be_ready(settings)}"
        f"checked: the settings, the files of TLS, and that {settings.app or DEMO} can"
        f" be loaded in {generation.folder}\n{_NOT_CHECKED}\n"
    )
