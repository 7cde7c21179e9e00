"""Signal handlers of the master, kept while it imports the application."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from twisted.logger import Logger

_log = Logger()


@contextmanager
def kept_signal_handlers() -> Iterator[None]:
    """
    Restore the signal handlers that the application replaces while it is imported.

    As under twistd, whose handlers are installed after the import: else the cluster
    could not be stopped any more. Those that start hooks set later stay.
    """
    before = {number: signal.getsignal(number) for number in signal.valid_signals()}
    try:
        yield
    finally:
        for number, handler in before.items():
            # None is a handler that was not installed from Python.
            if handler is not None and signal.getsignal(number) != handler:
                signal.signal(number, handler)
                _log.warn(
                    "the application's module has set a handler of {name}: the master"
                    " keeps its own (with --core isolated, it is set in the core)",
                    # The real-time signals between the first and the last have no name.
                    name=getattr(number, "name", f"signal {number}"),
                )
