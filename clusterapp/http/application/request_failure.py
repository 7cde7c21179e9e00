"""
Handling of requests that have failed.

If nothing of the response has been sent, the client gets an error response. Otherwise
the connection is closed, so that the client detects an incomplete response: neither an
error page nor the end of a body is added to it. Either way the failure is logged once,
with the request.
"""

from http import HTTPStatus
from typing import Final

from twisted.internet.defer import CancelledError
from twisted.python.failure import Failure
from twisted.web.util import formatFailure

from clusterapp.http.application.form_parser import BadFormError
from clusterapp.http.application.response_body import ResponseWriter, client_has_gone
from clusterapp.system import forks

#: The page of twisted.web.
_FAILED: Final = (
    b"<html><head><title>Processing Failed</title></head>"
    b"<body><b>Processing Failed</b></body></html>"
)
_TRACEBACK: Final = (
    b"<html><head><title>web.Server Traceback (most recent call last)</title></head>"
    b"<body><b>web.Server Traceback (most recent call last):</b>\n\n%b\n\n"
    b"</body></html>\n"
)

#: Response fields that describe the content that could not be produced, not the error;
#: and those by which a cache would store it.
_OF_CONTENT: Final = (
    b"cache-control",
    b"content-disposition",
    b"content-range",
    b"etag",
    b"expires",
    b"last-modified",
)
_ENCODING: Final = b"content-encoding"


class FailureResponses(ResponseWriter):
    """Failure handling of a `ClusterRequest`."""

    #: Whether the error is being sent, which may fail as well.
    _fails = False

    def fail(self, reason: Failure) -> None:
        """End a request whose handling has failed; see `processingFailed`."""
        self.producer = None  # the connection has stopped it
        if not self.ended:
            self.processingFailed(reason)
        elif not reason.check(CancelledError):
            self.log_failure(reason, "after the response,")

    def processingFailed(self, reason: Failure) -> Failure:
        """
        End the request with an error response, and log the failure.

        The status is 500, or 400 or 413 for a bad form; if the response has begun, the
        connection is closed.

        :param reason: the failure.
        :return: the failure.
        :raises RuntimeError: if the client has gone before anything was sent.
        """
        if forks.is_fork:
            forks.end_fork(reason)
        if self._connection.switched:
            # HTTP can no longer be written on this connection.
            self.log_failure(reason)
            self._connection.fail(reason)
            return reason
        if self.startedWriting or self._given_up:
            if self.channel is None:
                self.log_failure(reason, "after the response,")
            else:
                self.log_failure(reason)
                self.abort_response()
            return reason
        if self.channel is None:
            self.log_failure(reason)
            self.setResponseCode(HTTPStatus.INTERNAL_SERVER_ERROR)
            raise client_has_gone()
        if not reason.check(BadFormError):
            self.log_failure(reason)
        self._answer_failure(reason)
        self._given_up = True
        return reason

    def _answer_failure(self, reason: Failure) -> None:
        if self._fails:
            self._refuse()
            return
        self._fails = True
        try:
            self._respond_with_error(reason)
        except Exception:  # noqa: BLE001 - whatever it is, an answer is due
            self.log_failure(Failure(), "an error could not be answered:")
            self._refuse()

    def _refuse(self) -> None:
        """Refuse the request with a 500: no response of the application can be sent."""
        if self.channel is not None:
            self._given_up = True
            self.channel.refuse_request(HTTPStatus.INTERNAL_SERVER_ERROR)

    def _respond_with_error(self, reason: Failure) -> None:
        if self._inFakeHead:
            self._inFakeHead = False
            self.method = b"HEAD"
        self.etag = self.lastModified = None
        for name in _OF_CONTENT if self._encoder else (*_OF_CONTENT, _ENCODING):
            self._plain.pop(name, None)
            if "responseHeaders" in self.__dict__:
                self.responseHeaders.removeHeader(name)
        status, kind, page = self._error(reason)
        self.setResponseCode(status)
        self.setHeader(b"content-type", kind)
        self.setHeader(b"content-length", b"%d" % len(page))
        self.respond(page)

    def _error(self, reason: Failure) -> tuple[HTTPStatus, bytes, bytes]:
        """Return the status, the content type and the body of an error response."""
        error = reason.value
        if isinstance(error, BadFormError):
            return error.status, b"text/plain; charset=utf-8", error.answer
        status = HTTPStatus.INTERNAL_SERVER_ERROR
        page = self._connection.site.failure_page
        if page is not None:
            return status, b"text/html; charset=utf-8", page(reason)
        if self.site.displayTracebacks:
            return status, b"text/html", _TRACEBACK % formatFailure(reason)
        return status, b"text/html", _FAILED
