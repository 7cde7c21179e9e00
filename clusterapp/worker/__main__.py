"""
The entry point of a child process: a worker, or the isolated core.

The order of the steps matters. The bootstrap is read from stdin first, and the reactor
must be installed before Klein is imported, which would install the default reactor.
"""

import faulthandler
import os
import signal
import sys

from clusterapp.channel.bootstrap import Bootstrap
from clusterapp.spawning.signals import leave_to_master
from clusterapp.system.descriptor_limit import raise_descriptor_limit
from clusterapp.system.descriptors import Descriptor, own
from clusterapp.system.forks import clean_up_forks
from clusterapp.system.regular import set_start_folder
from clusterapp.system.titles import set_title

_STDIN, _STDERR = 0, 2


def main() -> None:
    """Read the bootstrap from stdin, install the reactor and run the child."""
    _show_stacks()
    leave_to_master()
    clean_up_forks()
    raise_descriptor_limit()
    bootstrap = Bootstrap.from_bytes(_first_line())
    set_title(bootstrap.title)
    # Kept in a variable: `own` holds no reference, and forks must not keep the pipe.
    master = _move_stdin()
    _take_over(bootstrap)
    _install_fast_reactor()
    from clusterapp.worker.child_program import run  # noqa: PLC0415

    sys.exit(run(bootstrap, master.fileno()))


def _show_stacks() -> None:
    """
    Make faulthandler write all threads' stacks to stderr at crashes and signals.

    The signals are ABRT and USR2. The handler is in C, so it works while Python code
    blocks.
    """
    faulthandler.enable(file=_STDERR)
    faulthandler.register(signal.SIGUSR2, file=_STDERR, all_threads=True, chain=False)


def _first_line() -> bytes:
    # Unbuffered: a buffer would also read the bytes that the master sends later, by
    # which it asks for a report.
    with open(_STDIN, "rb", buffering=0, closefd=False) as stdin:
        return stdin.readline()


def _move_stdin() -> Descriptor:
    """
    Move the pipe on stdin to a descriptor that is not inherited, and return that.

    Stdin is /dev/null afterwards.
    """
    pipe = Descriptor(os.dup(_STDIN))
    own(pipe)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, _STDIN)
    os.close(nothing)
    return pipe


def _take_over(bootstrap: Bootstrap) -> None:
    """Set umask, working folder and import path to those of this generation."""
    if bootstrap.umask is not None:
        os.umask(bootstrap.umask)
    if bootstrap.folder is not None:
        os.chdir(bootstrap.folder)
        set_start_folder(bootstrap.folder)
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
