"""The last resort of a child whose master is gone: no orphan is left behind."""

import os
import select
import threading
import time

#: Time beyond the graceful timeout in which the child may still leave by itself.
_ALLOWANCE = 2.0


def watch_master(control: int, graceful_timeout: float) -> None:
    """
    End this process some time after its control channel was closed.

    A thread does it, since the event loop hears nothing while application code
    blocks it; as a rule the loop hears of it first, drains, and is gone in time.

    :param control: the control channel's descriptor; it is duplicated.
    :param graceful_timeout: seconds that draining may take.
    """
    watched = os.dup(control)
    threading.Thread(
        target=_wait_and_leave,
        args=(watched, graceful_timeout + _ALLOWANCE),
        name="master watch",
        daemon=True,
    ).start()


def _wait_and_leave(watched: int, patience: float) -> None:
    hung_up = select.poll()
    hung_up.register(watched, 0)  # a hang-up is always told: poll(2)
    while not hung_up.poll():
        pass
    time.sleep(patience)
    os._exit(1)
