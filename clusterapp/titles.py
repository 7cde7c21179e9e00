"""What ps(1) and top(1) show of the processes of a cluster."""

import os

#: Tells setproctitle to leave the environment of /proc/PID/environ alone, where it
#: would otherwise write long titles. They have the room of the command line then.
_NO_ENVIRONMENT = "SPT_NOENV"

_PREFIX = "clusterapp: "

_title = ""


def set_title(title: str) -> None:
    """
    Have ps(1) show what this process is.

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
    """Tell a fork of this process from it (in the fork)."""
    if _title:
        set_title(f"fork of {_title}")
