"""
A program that embeds a cluster: ``python parent.py REACTOR``.

It stops by itself at the second line of its stdin, and says with what its own
signal handlers and log observers it was left.
"""

import signal
import sys
from typing import Any

kind = sys.argv[1]
if kind == "uvloop":
    import asyncio

    import uvloop
    from twisted.internet import asyncioreactor

    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    asyncioreactor.install(loop)
else:
    from twisted.application.reactors import installReactor

    installReactor(kind)

from twisted.application.service import MultiService  # noqa: E402
from twisted.internet import reactor  # noqa: E402
from twisted.logger import globalLogBeginner, textFileLogObserver  # noqa: E402

from clusterapp import ClusterService, Settings  # noqa: E402
from clusterapp.errors import ClusterError  # noqa: E402


def mine(*_: Any) -> None:
    """Stop, as this program's own handler of TERM."""
    print("the parent's own handler")
    reactor.callFromThread(reactor.stop)  # type: ignore[attr-defined]


globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stdout)])
reactor.callWhenRunning(signal.signal, signal.SIGTERM, mine)
program = MultiService()
cluster = ClusterService(
    Settings(
        app="shop:app",
        workers=1,
        listen="tcp:0:interface=127.0.0.1",
        core=sys.argv[2],
        state="state",
    )
)
cluster.setServiceParent(program)
try:
    program.startService()
except ClusterError as error:
    print(f"refused: {error}")
    sys.exit(9)
reactor.addSystemEventTrigger("before", "shutdown", program.stopService)
reactor.run()
print("the parent goes on")
