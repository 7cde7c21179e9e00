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

_STDIN, _STDERR = 0, 2


def main() -> None:
    """Read what this child is to be, and be it until the master lets it go."""
    _show_stacks()
    # A terminal's Ctrl-C reaches the whole process group; only the master acts.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # So does a script that rotates logs with kill(1); the master passes the word on.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    bootstrap = Bootstrap.from_bytes(_first_line())
    master = _move_stdin()
    _take_over(bootstrap)
    if bootstrap.role == "worker":
        _install_fast_reactor()
    from clusterapp.worker.service import run  # noqa: PLC0415

    sys.exit(run(bootstrap, master))


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


def _move_stdin() -> int:
    """Give the pipe another number, which no grandchild inherits; stdin is empty."""
    pipe = os.dup(_STDIN)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, _STDIN)
    os.close(nothing)
    return pipe


def _take_over(bootstrap: Bootstrap) -> None:
    """See the modules of this generation, and the environment as it was set."""
    if bootstrap.folder is not None:
        os.chdir(bootstrap.folder)
    sys.path[:] = bootstrap.path
    if bootstrap.python_path is None:
        os.environ.pop("PYTHONPATH", None)
    else:
        os.environ["PYTHONPATH"] = bootstrap.python_path


def _install_fast_reactor() -> None:
    from clusterapp.worker.reactor import install  # noqa: PLC0415

    install()


if __name__ == "__main__":
    main()
