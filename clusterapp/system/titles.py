"""The titles of a cluster's processes in ps(1) and top(1)."""

import os

#: Tells setproctitle not to overwrite the environment in /proc/PID/environ with long
#: titles. They are limited to the length of the command line then.
_NO_ENVIRONMENT = "SPT_NOENV"

_PREFIX = "clusterapp: "

_title = ""


def set_title(title: str) -> None:
    """
    Set the title of this process in ps(1).

    :param title: its role and application, as in ``worker 2 shop:app``. It is cut to
        the length of the command line that the process was started with.
    """
    global _title  # noqa: PLW0603 - a process has one title
    was_chosen = _NO_ENVIRONMENT in os.environ
    os.environ.setdefault(_NO_ENVIRONMENT, "1")
    try:
        from setproctitle import setproctitle  # noqa: PLC0415 - it looks for that then

        setproctitle(_PREFIX + title)
    finally:
        if not was_chosen:
            del os.environ[_NO_ENVIRONMENT]
    _title = title


def mark_fork() -> None:
    """Set a title that marks this process as a fork (in the fork)."""
    if _title:
        set_title(f"fork of {_title}")
