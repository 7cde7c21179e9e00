"""
A child process: a worker, or the isolated core.

The order matters. What it is to be stands on stdin; the reactor must be chosen
before anything imports Klein, which would install the default one.
"""

import os
import signal
import sys

from clusterapp.channel.bootstrap import Bootstrap


def main() -> None:
    """Read what this child is to be, and be it until the master lets it go."""
    # A terminal's Ctrl-C reaches the whole process group; only the master acts.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # So does a script that rotates logs with kill(1); the master passes the word on.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    bootstrap = Bootstrap.from_bytes(sys.stdin.buffer.read())
    _empty_stdin()
    _take_over(bootstrap)
    if bootstrap.role == "worker":
        _install_fast_reactor()
    from clusterapp.worker.service import run  # noqa: PLC0415

    sys.exit(run(bootstrap))


def _empty_stdin() -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)


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
