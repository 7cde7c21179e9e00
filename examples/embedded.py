"""
A program of your own with a cluster inside: ``python embedded.py [PORT]``.

The cluster is a Twisted service like any other. It starts and stops with the
service that holds it; the program keeps its reactor, its signals and its logging.
"""

import sys

from twisted.application.service import MultiService
from twisted.internet import reactor
from twisted.logger import globalLogBeginner, textFileLogObserver

from clusterapp import ClusterService, Settings


def main() -> None:
    """Run a program whose only service, for now, is a cluster of two workers."""
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stdout)])
    port = sys.argv[1] if len(sys.argv) > 1 else "8080"
    program = MultiService()
    cluster = ClusterService(
        Settings(
            app="klein_app:app", workers=2, listen=[f"tcp:{port}:interface=127.0.0.1"]
        )
    )
    cluster.setServiceParent(program)
    program.startService()
    # The reactor waits for what this returns: workers finish what they have.
    reactor.addSystemEventTrigger("before", "shutdown", program.stopService)
    reactor.run()


if __name__ == "__main__":
    main()
