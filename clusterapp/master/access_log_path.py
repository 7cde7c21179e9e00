"""Where the access log of a cluster is, as its workers are told."""

import os
from dataclasses import replace
from pathlib import Path

from clusterapp.errors import SettingsError
from clusterapp.logs.log_output import open_path
from clusterapp.master.workers.spawn_spec import Plan
from clusterapp.settings.option_types import STDOUT

#: The master's stdout. A worker's own is a pipe into the master's log.
_STDOUT = 1


def place_access_log(plan: Plan, setting: str | None) -> Plan:
    """
    Complete what workers are told with where they write the access log.

    :param plan: what they are told so far.
    :param setting: the setting ``access_log``.
    :raise SettingsError: if the file cannot be written by this process.
    """
    if setting is None:
        return plan
    try:
        if setting == STDOUT:
            os.fstat(_STDOUT)
            return replace(plan, access_log=_STDOUT)
        # A worker's application may change the working folder.
        path = str(Path(setting).absolute())
        os.close(open_path(path))
    except OSError as error:
        raise SettingsError(
            f"access_log = {setting!r}: cannot be opened for appending:"
            f" {error.strerror}"
        ) from error
    return replace(plan, bootstrap=replace(plan.bootstrap, access_log=path))
