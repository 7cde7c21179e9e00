"""
A child process: a worker, or the isolated core.

The order matters. What it is to be stands on stdin; the reactor must be chosen
before anything imports Klein, which would install the default one.
"""

import faulthandler
import os
import signal
import sys

from clusterapp.channel.bootstrap import Bootstrap
from clusterapp.descriptors import Descriptor, own
from clusterapp.forks import clean_up_forks
from clusterapp.limits import raise_descriptor_limit
from clusterapp.spawning.signals import leave_to_master
from clusterapp.titles import set_title

_STDIN, _STDERR = 0, 2


def main() -> None:
    """Read what this child is to be, and be it until the master lets it go."""
    _show_stacks()
    leave_to_master()
    clean_up_forks()
    raise_descriptor_limit()
    bootstrap = Bootstrap.from_bytes(_first_line())
    set_title(bootstrap.title)
    master = _move_stdin()  # kept: forks are told of it as long as it is there
    _take_over(bootstrap)
    _install_fast_reactor()
    from clusterapp.worker.child_program import run  # noqa: PLC0415

    sys.exit(run(bootstrap, master.fileno()))


def _show_stacks() -> None:
    """
    Write the stacks of all threads to stderr at a crash, at ABRT and at USR2.

    It is done in C, so that it works whatever the Python code is doing.
    """
    faulthandler.enable(file=_STDERR)
    faulthandler.register(signal.SIGUSR2, file=_STDERR, all_threads=True, chain=False)


def _first_line() -> bytes:
    # Without a buffer, which would take what the master asks behind the line.
    with open(_STDIN, "rb", buffering=0, closefd=False) as stdin:
        return stdin.readline()


def _move_stdin() -> Descriptor:
    """Give the pipe another number, which no grandchild inherits; stdin is empty."""
    pipe = Descriptor(os.dup(_STDIN))
    own(pipe)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, _STDIN)
    os.close(nothing)
    return pipe


def _take_over(bootstrap: Bootstrap) -> None:
    """Begin as the master has begun, and see the modules of this generation."""
    if bootstrap.umask is not None:
        os.umask(bootstrap.umask)
    if bootstrap.folder is not None:
        os.chdir(bootstrap.folder)
    sys.path[:] = bootstrap.path
    if bootstrap.python_path is None:
        os.environ.pop("PYTHONPATH", None)
    else:
        os.environ["PYTHONPATH"] = bootstrap.python_path


def _install_fast_reactor() -> None:
    from clusterapp.worker.worker_reactor import install  # noqa: PLC0415

    install()


if __name__ == "__main__":
    main()
