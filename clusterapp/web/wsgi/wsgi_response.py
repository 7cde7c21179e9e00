"""
The response of a WSGI application (PEP 3333), whose errors end only one request.

`twisted.web.wsgi` runs the application. Its response is changed where an exception
would leave the client without a response, and the application's iterable unclosed.
Its class is private: without it, nothing here is used (see `WSGIRoot`).
"""

from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
from typing import Any, Final

from twisted.internet.interfaces import IReactorThreads
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.server import Request

from clusterapp.guards import guarded
from clusterapp.http.syntax.response_framing import InvalidResponseError, one_line
from clusterapp.private_names.web import WSGI_RESPONSE
from clusterapp.web.wsgi.wsgi_errors import ErrorStream

_DIGITS: Final = 3

#: The variables of fields whose values CONTENT_LENGTH and CONTENT_TYPE have, which must
#: not be in the environment twice (RFC 3875, section 4.1.18).
_TOLD_ALREADY: Final = ("HTTP_CONTENT_LENGTH", "HTTP_CONTENT_TYPE")


_Response: Any = WSGI_RESPONSE.value or object


class ContainedResponse(_Response):  # type: ignore[misc]
    """
    The response of a WSGI application to one request.

    A failure before the first byte of the body is answered with 500; after it, the
    response is aborted. Either is logged once. The iterable's ``close`` is always
    called.
    """

    #: The status passed to ``start_response``; empty before that.
    status: str = ""
    headers: Sequence[tuple[str, str]]
    #: Set by the base class at the first write.
    started: bool
    environ: dict[str, Any]

    def __init__(
        self, reactor: IReactorThreads, pool: Any, application: Any, request: Request
    ) -> None:
        super().__init__(reactor, pool, application, request)
        # Other processes can serve the same application at the same time, even in a
        # cluster of one worker: while the worker is replaced, or after scaling.
        self.environ["wsgi.multiprocess"] = True
        for name in _TOLD_ALREADY:
            self.environ.pop(name, None)
        self._errors = self.environ["wsgi.errors"] = ErrorStream()

    def startResponse(
        self, status: str, headers: Sequence[tuple[str, str]], excInfo: Any = None
    ) -> Callable[[bytes], None]:
        """
        Set the status and the fields of the response (in the application's thread).

        :raises ValueError: status or fields cannot be sent.
        :raises TypeError: an argument is not of the type that PEP 3333 requires.
        """
        write: Callable[[bytes], None] = super().startResponse(status, headers, excInfo)
        self.status = _checked_status(status)
        for name, value in headers:
            _check_field(name, value)
        return write

    def write(self, data: bytes) -> None:
        """
        Send a piece of the body (in the application's thread).

        :raises TypeError: the piece is not bytes.
        :raises RuntimeError: the application has not called ``start_response``.
        """
        self._check_started()
        if not isinstance(data, bytes):
            raise TypeError(f"a WSGI application writes bytes, not {data!r:.100}")
        super().write(data)

    def run(self) -> None:
        """Call the application, and send the body that it returns (in a thread)."""
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
                if self.is_over:
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
            if not self.is_over:
                if not self.started:
                    self.send_head()
                self.request.finish()
        except Exception:  # noqa: BLE001 - the reactor would only log it
            self._failed(Failure())

    @guarded("end a request to a WSGI application")
    def _failed(self, failure: Failure) -> None:
        self.request.fail(failure)


def _checked_status(status: str) -> str:
    """Return a status with a reason phrase, which is added if it lacks one."""
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
    # Headers refuses a name that is not a token.
    Headers().setRawHeaders(_latin(name), [])
    one_line(_latin(value))


def _latin(text: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        raise InvalidResponseError(f"beyond latin-1 in a head: {text!r}") from None
