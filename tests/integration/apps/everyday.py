"""A small application that uses a bit of everything, in each form that there is."""

import os
import sys
from collections.abc import Callable, Iterable
from typing import Any

from klein import Klein
from twisted.internet import protocol, reactor
from twisted.internet.defer import Deferred
from twisted.web.iweb import IRequest
from twisted.web.resource import EncodingResourceWrapper, IResource
from twisted.web.server import GzipEncoderFactory
from twisted.web.static import Data

from clusterapp import Application

app = Application(static="everyday_static", templates="everyday_templates")


class Refused(Exception):  # noqa: N818 - it is no error
    """What a handler raises for its error handler."""


@app.route("/")
def index(request: IRequest) -> str:
    """Answer with a text."""
    return "index"


@app.route("/hello/<name>")
def hello(request: IRequest, name: str) -> str:
    """Answer with a part of the path."""
    return f"hello {name}"


@app.route("/page")
def page(request: IRequest) -> str:
    """Answer with a template."""
    return app.render("page.html", value="<&>")


@app.route("/refused")
def refuse(request: IRequest) -> str:
    """Fail."""
    raise Refused


@app.handle_errors(Refused)
def refused(request: IRequest, failure: object) -> str:
    """Answer in spite of it."""
    return "refused"


@app.route("/zipped")
def zipped(request: IRequest) -> IResource:
    """Answer in the encoding that the client takes."""
    return EncodingResourceWrapper(
        Data(b"zipped", "text/plain"), [GzipEncoderFactory()]
    )


class _Exit(protocol.ProcessProtocol):
    def __init__(self, ended: "Deferred[str]") -> None:
        self._ended = ended

    def processEnded(self, reason: Any) -> None:
        self._ended.callback(f"ended with {reason.value.exitCode}")


@app.route("/process")
def process(request: IRequest) -> "Deferred[str]":
    """Start a process, and answer when it has ended."""
    ended: Deferred[str] = Deferred()
    spawner: Any = reactor
    spawner.spawnProcess(
        _Exit(ended), sys.executable, [sys.executable, "-c", "exit(3)"]
    )
    return ended


@app.core.route("/core")
def core(request: IRequest) -> str:
    """Answer from the core."""
    return "core"


@app.core.route("/fork")
def fork(request: IRequest) -> str:
    """Fork a process in the core, and return how it has ended."""
    pid = os.fork()
    if pid == 0:
        os._exit(4)
    return f"ended with {os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}"


class Own(Klein):
    """A Klein with a method of its own."""

    def resource(self) -> Any:
        """Return the resource, as ever."""
        return super().resource()


own = Own()


@own.route("/")
def own_index(request: IRequest) -> str:
    """Answer with a text."""
    return "own"


def wsgi(environ: Any, start_response: Callable[..., object]) -> Iterable[bytes]:
    """Answer with a text."""
    environ["wsgi.errors"].write("a word\n")
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "4")])
    return [b"wsgi"]
