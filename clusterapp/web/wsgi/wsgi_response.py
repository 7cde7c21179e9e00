"""
WSGI applications (PEP 3333), contained: what they do wrong ends one request.

`twisted.web.wsgi` runs them. Its response is changed where an exception would leave
the client without an answer, and the application's iterable open. `_WSGIResponse`,
which it does not promise, was read in Twisted 26.10.
"""

from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
from typing import Any, Final

from twisted.internet.interfaces import IReactorThreads
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.server import Request
from twisted.web.wsgi import _WSGIResponse

from clusterapp.guards import guarded
from clusterapp.http.syntax.response_framing import InvalidResponseError, one_line
from clusterapp.web.wsgi.wsgi_errors import ErrorStream

_DIGITS: Final = 3

#: The fields whose values stand in CONTENT_LENGTH and CONTENT_TYPE, and are not to be
#: there twice (RFC 3875, section 4.1.18).
_TOLD_ALREADY: Final = ("HTTP_CONTENT_LENGTH", "HTTP_CONTENT_TYPE")


class ContainedResponse(_WSGIResponse):
    """
    What a WSGI application answers to one request.

    A request that fails before the first byte of its body is a 500, and is broken off
    after it; either is logged once. The ``close`` of an iterable is always called.
    """

    _log = Logger()
    #: What the application has passed to ``start_response``; empty before that.
    status: str = ""
    headers: Sequence[tuple[str, str]]
    #: Set by the base once something was to be written.
    started: bool
    environ: dict[str, Any]

    def __init__(
        self, reactor: IReactorThreads, pool: Any, application: Any, request: Request
    ) -> None:
        super().__init__(reactor, pool, application, request)
        # Other processes serve the same application at the same time: one in a cluster
        # of one worker, too, while that is replaced or when the cluster is scaled.
        self.environ["wsgi.multiprocess"] = True
        for name in _TOLD_ALREADY:
            self.environ.pop(name, None)
        self._errors = self.environ["wsgi.errors"] = ErrorStream()

    def startResponse(
        self, status: str, headers: Sequence[tuple[str, str]], excInfo: Any = None
    ) -> Callable[[bytes], None]:
        """
        Note the head of the response (in the application's thread).

        :raises ValueError: if it cannot be sent as it is.
        :raises TypeError: if any of it is of another type than PEP 3333 says.
        """
        write: Callable[[bytes], None] = super().startResponse(status, headers, excInfo)
        self.status = _checked_status(status)
        for name, value in headers:
            _check_field(name, value)
        return write

    def write(self, data: bytes) -> None:
        """
        Send a piece of the body (in the application's thread).

        :raises TypeError: if it is no bytes.
        :raises RuntimeError: if the application has not called ``start_response``.
        """
        self._check_started()
        if not isinstance(data, bytes):
            raise TypeError(f"a WSGI application writes bytes, not {data!r:.100}")
        super().write(data)

    def run(self) -> None:
        """Call the application, and send what it gives (in a thread)."""
        try:
            self._iterate(self.application(self.environ, self.startResponse))
        except BaseException:  # noqa: BLE001 - it ends this request, whatever it is
            self.reactor.callFromThread(self._failed, Failure())
        else:
            self.reactor.callFromThread(self._completed)
        finally:
            self._errors.flush_line()

    def _iterate(self, body: Iterable[bytes]) -> None:
        try:
            for piece in body:
                if piece or not isinstance(piece, bytes):
                    self.write(piece)
                if self._requestFinished:
                    break
            self._check_started()
        finally:
            close = getattr(body, "close", None)
            if close is not None:
                close()

    def _check_started(self) -> None:
        if not self.status:
            raise RuntimeError("the WSGI application has not called start_response")

    def _completed(self) -> None:
        try:
            if not self._requestFinished:
                if not self.started:
                    self._sendResponseHeaders()
                self.request.finish()
        except Exception:  # noqa: BLE001 - the reactor has no use for it
            self._failed(Failure())

    @guarded("end a request to a WSGI application")
    def _failed(self, failure: Failure) -> None:
        self.request.fail(failure)


def _checked_status(status: str) -> str:
    """Give a status with a reason phrase, which it may lack."""
    code, _, reason = status.partition(" ")
    if len(code) != _DIGITS or not code.isdecimal() or not code.isascii():
        raise InvalidResponseError(f"no status of a response: {status!r}")
    one_line(_latin(reason))
    return status if reason.strip() else f"{code} {_phrase(int(code))}"


def _phrase(code: int) -> str:
    try:
        return HTTPStatus(code).phrase
    except ValueError:
        return "Unknown Status"


def _check_field(name: str, value: str) -> None:
    # It refuses what is no token.
    Headers().setRawHeaders(_latin(name), [])
    one_line(_latin(value))


def _latin(text: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        raise InvalidResponseError(f"beyond latin-1 in a head: {text!r}") from None
