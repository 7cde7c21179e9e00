"""The path or descriptor of the access log that workers write to."""

import os
from dataclasses import replace
from pathlib import Path

from clusterapp.errors import SettingsError
from clusterapp.logs.log_output import open_path
from clusterapp.master.workers.spawn_spec import SpawnSpec
from clusterapp.settings.option_types import STDOUT

#: The master's stdout. A worker's own stdout is a pipe into the master's log.
_STDOUT = 1


def place_access_log(spec: SpawnSpec, setting: str | None, folder: str) -> SpawnSpec:
    """
    Add the access log to what workers are started with.

    :param spec: the plan of a worker so far.
    :param setting: the setting ``access_log``.
    :param folder: the folder that a relative path is in.
    :raise SettingsError: if this process cannot open the file for appending.
    """
    if setting is None:
        return spec
    try:
        if setting == STDOUT:
            os.fstat(_STDOUT)
            return replace(spec, access_log=_STDOUT)
        # Not by the working folder of this process, which may have been removed and
        # made anew, nor by that of a worker, whose application may change it.
        path = str(Path(folder, setting))
        os.close(open_path(path))
    except OSError as error:
        raise SettingsError(
            f"access_log = {setting!r}: cannot be opened for appending:"
            f" {error.strerror}"
        ) from error
    return replace(spec, bootstrap=replace(spec.bootstrap, access_log=path))
