"""An application whose workers leave orphans behind."""

import subprocess

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.web.iweb import IRequest

from clusterapp import Application

app = Application()


@app.route("/")
def here(request: IRequest) -> str:
    """Answer."""
    return "here"


@app.route("/slow")
async def slow(request: IRequest) -> str:
    """Answer a second after saying so."""
    print("slow begins")
    await deferLater(reactor, 1.0)
    return "slow but sure"


@app.route("/orphan")
def orphan(request: IRequest) -> str:
    """Leave a process behind whose parent has gone, so that PID 1 gets it."""
    # The pipes would otherwise stay open for as long as the orphan lives.
    subprocess.run(["sh", "-c", "sleep 600 >/dev/null 2>&1 &"], check=True)
    return "left"
