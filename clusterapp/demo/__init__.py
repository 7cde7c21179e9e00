"""
The demo site: what ``twistd clusterapp`` serves when no application is named.

It is one application in two halves. What is under ``app.route`` runs in every
worker; what is under ``app.core.route`` runs once, in the core, where a plain
attribute is shared state and needs no lock and no database. A worker forwards
the requests for the core's routes, so both halves have the same public address.
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

#: How long a page waits for the core, in seconds, before it does without.
CORE_PATIENCE = 2.0

#: How a worker's connection to the core may end.
_ENDS = (CancelledError, CoreError, PartialDownloadError, ResponseFailed)

#: How long a worker waits, in seconds, before it tells a core anew that it is there.
PRESENCE_PAUSE = 1.0

#: How many pages the core keeps up to date at once.
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
    # A browser keeps a connection, and with it a worker. Giving the connection
    # up after each page lets a reload reach the others.
    "Connection": "close",
}

_HOST = re.compile(r"[\w.:\[\]-]+", re.ASCII)

_log = Logger()


def accepts(request: Request, media_type: str) -> bool:
    """Whether the client names this media type among those it would like."""
    return media_type in (request.getHeader("Accept") or "")


def is_foreign(request: Request) -> bool:
    """
    Whether a page of another site made the browser send this request.

    Browsers say so in Sec-Fetch-Site (W3C Fetch Metadata, section 2.3), but
    not to a plain-HTTP server on another machine; there, Origin tells.
    """
    site = request.getHeader("Sec-Fetch-Site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = request.getHeader("Origin")
    return origin is not None and urlsplit(origin).netloc != request.getHeader("Host")


def curl_name(request: Request) -> str:
    """Return how ``curl`` calls this site, for the commands that a page shows."""
    host = request.getHeader("Host") or ""
    # It will be pasted into a shell: take no character that means something.
    if not _HOST.fullmatch(host):
        host = "localhost:8080"
    return f"https://{host}" if request.isSecure() else host


def clock_of(request: Request) -> IReactorTime:
    """Return the clock of the reactor that serves this request."""
    return cast("Site", request.site).reactor


def send_as(request: Request, media_type: str) -> None:
    """Set the headers that every answer of this site has."""
    request.setHeader("Content-Type", media_type)
    request.setHeader("Cache-Control", "no-store")
    request.setHeader("X-Content-Type-Options", "nosniff")


def line(request: Request, text: str, code: int = HTTPStatus.OK) -> str:
    """Answer with one line of text."""
    request.setResponseCode(code)
    send_as(request, "text/plain; charset=utf-8")
    return f"{text}\n"


def document(request: Request, value: object) -> str:
    """Answer with a JSON document."""
    send_as(request, "application/json")
    return f"{json.dumps(value)}\n"


def page(request: Request, template: str, **values: object) -> str:
    """Answer with a page made from a template."""
    send_as(request, "text/html; charset=utf-8")
    for name, value in _PAGE_HEADERS.items():
        request.setHeader(name, value)
    return app.render(template, place=Place.here(), **values)


# In the workers.


class Place(NamedTuple):
    """Which process this is; without a cluster it has no slot or generation."""

    slot: int | None
    pid: int
    generation: int | None

    @classmethod
    def here(cls) -> "Place":
        """Ask the cluster, if there is one, about this process."""
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
    Tell the core what this worker has served.

    :param what: the request, as ``GET /path``.
    :param times: how often it was served since the core was last told.
    :param clock: measures `CORE_PATIENCE`.
    :return: the core's board (see `Board.snapshot`), or None without a core.
    """
    visit = {**Place.here()._asdict(), "what": what, "times": times}
    try:
        return await Deferred.fromCoroutine(_post(visit)).addTimeout(
            CORE_PATIENCE, clock
        )
    except (NotInClusterError, CoreError, TimedOut) as error:
        _log.debug("no core to tell of {what}: {error!r}", what=what, error=error)
        return None


async def _post(visit: dict[str, object]) -> Any:
    response = await app.cluster.core.post("http://core/visits", json=visit)
    if response.code != HTTPStatus.OK:
        raise CoreBrokenError(f"the core answered {response.code} to a visit")
    return await response.json()


class Summary:
    """
    What a worker tells the core of requests that do not wait for the core.

    One message is on its way at a time, and the next sums up what came
    meanwhile: a flood of requests to a worker is none to the core.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._untold = 0
        self._telling = False

    def served(self, clock: IReactorTime) -> None:
        """Note one more request, and see to it that the core is told."""
        self._untold += 1
        if not self._telling:
            Deferred.fromCoroutine(self._tell(clock)).addErrback(
                lambda failure: _log.failure("cannot tell the core", failure)
            )

    async def _tell(self, clock: IReactorTime) -> None:
        self._telling = True
        try:
            while self._untold:
                times, self._untold = self._untold, 0
                await tell_core(self._what, times, clock)
        finally:
            self._telling = False


summary = Summary("GET /whoami")


class Presence:
    """Keeps this worker's process known to the core: by a connection that stays."""

    def __init__(self) -> None:
        self.loop = LoopingCall(self._connect)
        self._connected: Deferred[None] | None = None

    def begin(self) -> None:
        """Connect, and connect again whenever the core has gone."""
        self.loop.start(PRESENCE_PAUSE).addErrback(
            lambda failure: _log.failure("cannot stay known to the core", failure)
        )

    def end(self) -> None:
        """Let go: the worker stops."""
        if self.loop.running:
            self.loop.stop()
        if self._connected is not None:
            self._connected.cancel()

    def _connect(self) -> "Deferred[None]":
        connected = self._connected = Deferred.fromCoroutine(self._stay())
        # The loop goes on when this has fired.
        return connected.addErrback(lambda why: why.trap(*_ENDS) and None)

    async def _stay(self) -> None:
        place = Place.here()._asdict()
        answer = await app.cluster.core.post("http://core/workers", json=place)
        await answer.content()  # which ends with the core


presence = Presence()


@app.on_start
def join() -> None:
    """Have the core know this worker before its first request."""
    presence.begin()


@app.on_stop
def leave() -> None:
    """Have the core see this worker leave."""
    presence.end()


@app.route("/", methods=["GET"])
async def index(request: Request) -> str:
    """Show who answers and what the core knows, this visit included."""
    what = f"{request.method.decode('ascii')} /"
    known = await tell_core(what, 1, clock_of(request))
    site = curl_name(request)
    # The master is the parent of its workers.
    return page(request, "index.html", board=known, site=site, master=os.getppid())


@app.route("/whoami", methods=["GET"])
def whoami(request: Request) -> str:
    """Say who answers, in a line for ``curl`` or as JSON."""
    summary.served(clock_of(request))
    place = Place.here()
    if accepts(request, "application/json"):
        return document(request, place._asdict())
    return line(request, str(place))


@app.handle_errors(NotFound)  # type: ignore[arg-type]
def not_found(request: Request, _: Failure) -> str:
    """Show the page for an address that nothing answers."""
    request.setResponseCode(HTTPStatus.NOT_FOUND)
    return page(request, "404.html")


# In the core.


board = Board()


@app.core.route("/visits", methods=["POST"])
def visits(request: Request) -> str:
    """
    Take a worker's word on what it has served, and answer with the board.

    Workers ask for themselves here. What they forward for a client says so.
    """
    if request.getHeader("Forwarded") or request.getHeader("X-Forwarded-For"):
        return line(request, "only workers tell of visits", HTTPStatus.FORBIDDEN)
    board.add(json.load(cast("IO[bytes]", request.content)))
    return document(request, board.snapshot())


@app.core.route("/workers", methods=["POST"])
async def workers(request: Request) -> str | None:
    """Know a worker from now on, until its connection ends with its process."""
    if request.getHeader("Forwarded") or request.getHeader("X-Forwarded-For"):
        return line(request, "only workers are known here", HTTPStatus.FORBIDDEN)
    worker = json.load(cast("IO[bytes]", request.content))
    # A stream of events: a core that is to stop ends it without waiting.
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
    """Count a POST; send a browser to the page, tell the others the count."""
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
    """Keep a page up to date for as long as it is open."""
    if len(board.streams) >= STREAMS_ALLOWED:
        return line(request, "too many pages follow", HTTPStatus.SERVICE_UNAVAILABLE)
    send_as(request, "text/event-stream")
    if request.method != b"HEAD":
        await Stream(request, board, clock_of(request)).run()
    return None
