"""
The demo site, which ``twistd clusterapp`` serves when no application is named.

It is one application with two sides. Handlers of ``app.route`` run in every worker;
handlers of ``app.core.route`` run once, in the core, where a plain attribute is shared
state and needs no lock and no database. A worker forwards the requests for the core's
routes, so both sides have the same public address.
"""

import json
import os
import re
from http import HTTPStatus
from typing import IO, Any, NamedTuple, cast
from urllib.parse import urlsplit

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import PartialDownloadError, ResponseFailed
from twisted.web.server import Request, Site
from werkzeug.exceptions import NotFound

from clusterapp.demo.core import Board, Stream
from clusterapp.errors import CoreBrokenError, CoreError, NotInClusterError
from clusterapp.web.application import Application

app = Application(static="../static", templates="../templates")

#: The seconds that a page waits for the core before it is rendered without its data.
CORE_TIMEOUT = 2.0

#: The errors with which a worker's request to the core can end.
_ENDS = (CancelledError, CoreError, PartialDownloadError, ResponseFailed)

#: The least seconds between two registrations of a worker with the core.
PRESENCE_PAUSE = 1.0

#: The most event streams of pages that the core serves at once.
STREAMS_ALLOWED = 100

_PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; "
        "img-src 'self'; connect-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Not `no-referrer`: a browser would then send the page's own form with
    # `Origin: null` (Fetch, section 3.2), and `is_foreign` would refuse it.
    "Referrer-Policy": "same-origin",
    # With keep-alive a browser would stay with one worker. Closing the connection
    # after each page lets a reload reach other workers.
    "Connection": "close",
}

_HOST = re.compile(r"[\w.:\[\]-]+", re.ASCII)

_log = Logger()


def accepts(request: Request, media_type: str) -> bool:
    """Return whether the Accept field of a request names this media type."""
    return media_type in (request.getHeader("Accept") or "")


def is_foreign(request: Request) -> bool:
    """
    Return whether a page of another site made the browser send this request.

    Browsers send Sec-Fetch-Site (W3C Fetch Metadata, section 2.3), but not to a
    plain-HTTP server on another machine; in that case Origin is compared.
    """
    site = request.getHeader("Sec-Fetch-Site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = request.getHeader("Origin")
    return origin is not None and urlsplit(origin).netloc != request.getHeader("Host")


def curl_name(request: Request) -> str:
    """Return the URL of this site for the ``curl`` commands that a page shows."""
    host = request.getHeader("Host") or ""
    # The command is pasted into a shell: a host with special characters is replaced.
    if not _HOST.fullmatch(host):
        host = "localhost:8080"
    return f"https://{host}" if request.isSecure() else host


def clock_of(request: Request) -> IReactorTime:
    """Return the clock of the reactor that serves this request."""
    return cast("Site", request.site).reactor


def send_as(request: Request, media_type: str) -> None:
    """Set the header fields that every response of this site has."""
    request.setHeader("Content-Type", media_type)
    request.setHeader("Cache-Control", "no-store")
    request.setHeader("X-Content-Type-Options", "nosniff")


def line(request: Request, text: str, code: int = HTTPStatus.OK) -> str:
    """Return a line of text as a response body, after setting status and fields."""
    request.setResponseCode(code)
    send_as(request, "text/plain; charset=utf-8")
    return f"{text}\n"


def document(request: Request, value: object) -> str:
    """Return a JSON document as a response body, after setting the fields."""
    send_as(request, "application/json")
    return f"{json.dumps(value)}\n"


def page(request: Request, template: str, **values: object) -> str:
    """Return a page rendered from a template, after setting the fields."""
    send_as(request, "text/html; charset=utf-8")
    for name, value in _PAGE_HEADERS.items():
        request.setHeader(name, value)
    return app.render(template, process=ProcessIdentity.here(), **values)


# In the workers.


class ProcessIdentity(NamedTuple):
    """The identity of a process; without a cluster it has no slot and generation."""

    slot: int | None
    pid: int
    generation: int | None

    @classmethod
    def here(cls) -> "ProcessIdentity":
        """Return the identity of this process, from the cluster if there is one."""
        try:
            return cls(app.cluster.slot, os.getpid(), app.cluster.generation)
        except NotInClusterError:
            return cls(None, os.getpid(), None)

    def __str__(self) -> str:
        if self.slot is None:
            return f"no worker, pid {self.pid}"
        return f"worker {self.slot}, pid {self.pid}, generation {self.generation}"


async def tell_core(what: str, times: int, clock: IReactorTime) -> Any:
    """
    Report requests that this worker has served to the core.

    :param what: the request, as ``GET /path``.
    :param times: the number of such requests since the last report.
    :param clock: the clock for the timeout `CORE_TIMEOUT`.
    :return: the core's board (see `Board.snapshot`); None if the core did not answer.
    """
    visit = {**ProcessIdentity.here()._asdict(), "what": what, "times": times}
    try:
        return await Deferred.fromCoroutine(_post(visit)).addTimeout(
            CORE_TIMEOUT, clock
        )
    except (NotInClusterError, CoreError, TimedOut) as error:
        _log.debug(
            "cannot report {what} to the core: {error!r}", what=what, error=error
        )
        return None


async def _post(visit: dict[str, object]) -> Any:
    response = await app.cluster.core.post("http://core/visits", json=visit)
    if response.code != HTTPStatus.OK:
        raise CoreBrokenError(f"the core answered {response.code} to a visit")
    return await response.json()


class Summary:
    """
    The reports to the core about requests that do not wait for the core.

    One report is under way at a time, and the next one counts all requests received
    meanwhile: a flood of requests to a worker is no flood to the core.

    :param what: the request, as ``GET /path``.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._untold = 0
        self._telling = False

    def served(self, clock: IReactorTime) -> None:
        """Count one more request, and start a report unless one is under way."""
        self._untold += 1
        if not self._telling:
            Deferred.fromCoroutine(self._post_counts(clock)).addErrback(
                lambda failure: _log.failure("cannot post to the core", failure)
            )

    async def _post_counts(self, clock: IReactorTime) -> None:
        self._telling = True
        try:
            while self._untold:
                times, self._untold = self._untold, 0
                await tell_core(self._what, times, clock)
        finally:
            self._telling = False


summary = Summary("GET /whoami")


class Presence:
    """The registration of this worker with the core, by a request that stays open."""

    def __init__(self) -> None:
        self.loop = LoopingCall(self._connect)
        self._connected: Deferred[None] | None = None

    def begin(self) -> None:
        """Register, and register again whenever the core has ended the response."""
        self.loop.start(PRESENCE_PAUSE).addErrback(
            lambda failure: _log.failure(
                "cannot keep the connection to the core", failure
            )
        )

    def end(self) -> None:
        """Called when the worker stops: cancel the registration."""
        if self.loop.running:
            self.loop.stop()
        if self._connected is not None:
            self._connected.cancel()

    def _connect(self) -> "Deferred[None]":
        connected = self._connected = Deferred.fromCoroutine(self._stay())
        # The LoopingCall schedules its next call after this Deferred has fired.
        return connected.addErrback(lambda why: why.trap(*_ENDS) and None)

    async def _stay(self) -> None:
        process = ProcessIdentity.here()._asdict()
        answer = await app.cluster.core.post("http://core/workers", json=process)
        await answer.content()  # the body ends when the core stops


presence = Presence()


@app.on_start
def join() -> None:
    """Start the registration with the core; a start hook."""
    presence.begin()


@app.on_stop
def leave() -> None:
    """End the registration with the core; a stop hook."""
    presence.end()


@app.route("/", methods=["GET"])
async def index(request: Request) -> str:
    """Serve the page with this process and the core's board, this visit included."""
    what = f"{request.method.decode('ascii')} /"
    known = await tell_core(what, 1, clock_of(request))
    site = curl_name(request)
    # The master is the parent of its workers.
    return page(request, "index.html", board=known, site=site, master=os.getppid())


@app.route("/whoami", methods=["GET"])
def whoami(request: Request) -> str:
    """Serve the identity of this process, as a line of text or as JSON."""
    summary.served(clock_of(request))
    process = ProcessIdentity.here()
    if accepts(request, "application/json"):
        return document(request, process._asdict())
    return line(request, str(process))


@app.handle_errors(NotFound)  # type: ignore[arg-type]
def not_found(request: Request, _: Failure) -> str:
    """Serve the page for a path without a route, with status 404."""
    request.setResponseCode(HTTPStatus.NOT_FOUND)
    return page(request, "404.html")


# In the core.


board = Board()


@app.core.route("/visits", methods=["POST"])
def visits(request: Request) -> str:
    """
    Record a worker's report of served requests, and respond with the board.

    Only workers' own requests are accepted: forwarded requests of clients have a
    Forwarded or X-Forwarded-For field.
    """
    if request.getHeader("Forwarded") or request.getHeader("X-Forwarded-For"):
        return line(request, "only workers tell of visits", HTTPStatus.FORBIDDEN)
    board.add(json.load(cast("IO[bytes]", request.content)))
    return document(request, board.snapshot())


@app.core.route("/workers", methods=["POST"])
async def workers(request: Request) -> str | None:
    """Register a worker until this request's connection is closed."""
    if request.getHeader("Forwarded") or request.getHeader("X-Forwarded-For"):
        return line(request, "only workers are known here", HTTPStatus.FORBIDDEN)
    worker = json.load(cast("IO[bytes]", request.content))
    # An event stream: a core that drains ends it without waiting.
    send_as(request, "text/event-stream")
    request.write(b": welcome\n\n")
    board.arrived(worker)
    try:
        await Deferred()
    finally:
        board.left(worker)
    return None


@app.core.route("/counter", methods=["GET", "POST"])
def counter(request: Request) -> str:
    """Increment the counter at POST; redirect a browser, else return the count."""
    if request.method == b"POST":
        if is_foreign(request):
            return line(request, "another site may not count", HTTPStatus.FORBIDDEN)
        board.count()
    if accepts(request, "application/json"):
        return document(request, {"counter": board.counter, "core": os.getpid()})
    answer = line(request, f"counter {board.counter}, core pid {os.getpid()}")
    if accepts(request, "text/html"):
        request.setHeader("Location", "/")
        request.setResponseCode(HTTPStatus.SEE_OTHER)
    return answer


@app.core.route("/events", methods=["GET"])
async def events(request: Request) -> str | None:
    """Serve the event stream of the board for as long as a page is open."""
    if len(board.streams) >= STREAMS_ALLOWED:
        return line(request, "too many pages follow", HTTPStatus.SERVICE_UNAVAILABLE)
    send_as(request, "text/event-stream")
    if request.method != b"HEAD":
        await Stream(request, board, clock_of(request)).run()
    return None
