"""The control API: the operations and queries of an operator, over HTTP, as JSON."""

import json
from http import HTTPStatus
from typing import Any

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from clusterapp.control.bodies import (
    expect_nothing,
    slot_number,
    slot_or_core,
    wanted_dispatch,
    wants_quick,
    worker_count,
)
from clusterapp.control.progress import follow, shielded
from clusterapp.errors import OperationError, UnknownSlotError
from clusterapp.operations import Operations, Slot

#: The fields of a routing error that are kept without its HTML.
_KEPT_FIELDS = {"allow", "location"}


class ControlApi:
    """
    Serves the requests on the control socket.

    The response to a long operation has a line of JSON for each step, and the verdict
    in the last line. It is not cancelled if the client disconnects.

    :param operations: the cluster.
    """

    app = Klein()
    _log = Logger()

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    @app.route("/livez", methods=["GET"])
    def livez(self, request: IRequest) -> bytes:
        """Return a liveness response: the event loop is running."""
        return _json(request, {"alive": True})

    @app.route("/readyz", methods=["GET"])
    def readyz(self, request: IRequest) -> bytes:
        """Return whether the cluster is ready; with status 503 if not."""
        health = self._operations.health()
        status = HTTPStatus.OK if health.ready else HTTPStatus.SERVICE_UNAVAILABLE
        return _json(request, {**health.detail, "ready": health.ready}, status)

    @app.route("/status", methods=["GET"])
    def status(self, request: IRequest) -> bytes:
        """Return the state of the cluster and of each worker."""
        return _json(request, self._operations.status())

    @app.route("/config", methods=["GET"])
    def config(self, request: IRequest) -> bytes:
        """Return each setting, and the source of its value."""
        return _json(request, self._operations.config())

    @app.route("/reload", methods=["POST"])
    def reload(self, request: IRequest) -> Deferred[None]:
        """Replace the workers by a generation with new code."""
        expect_nothing(request)
        return follow(request, self._operations.reload)

    @app.route("/upgrade", methods=["POST"])
    def upgrade(self, request: IRequest) -> Deferred[None]:
        """Replace the master and all workers."""
        expect_nothing(request)
        return follow(request, self._operations.upgrade)

    @app.route("/scale", methods=["POST"])
    def scale(self, request: IRequest) -> Deferred[None]:
        """Change the number of workers."""
        workers, force = worker_count(request)
        return follow(
            request, lambda tell: self._operations.scale(workers, tell, force=force)
        )

    @app.route("/dispatch", methods=["POST"])
    def dispatch(self, request: IRequest) -> Deferred[None]:
        """Change how connections are distributed."""
        wanted = wanted_dispatch(request)
        return follow(request, lambda tell: self._operations.dispatch(wanted, tell))

    @app.route("/slots/<slot>/restart", methods=["POST"])
    def restart(self, request: IRequest, slot: str) -> Deferred[None]:
        """Replace the worker of one slot, or the core."""
        number = slot_or_core(slot)
        expect_nothing(request)
        return follow(request, lambda tell: self._operations.restart(number, tell))

    @app.route("/slots/<slot>/drain", methods=["POST"])
    def drain(self, request: IRequest, slot: str) -> Deferred[None]:
        """Drain one slot, which stays empty."""
        number = slot_number(slot)
        expect_nothing(request)
        return follow(request, lambda tell: self._operations.drain(number, tell))

    @app.route("/stop", methods=["POST"])
    def stop(self, request: IRequest) -> Deferred[None]:
        """Stop the cluster."""
        quick = wants_quick(request)
        return follow(
            request, lambda tell: self._operations.stop(quick=quick, tell=tell)
        )

    @app.route("/stacks", methods=["POST"])
    def all_stacks(self, request: IRequest) -> Deferred[bytes]:
        """Return the stacks of all processes."""
        return self._stacks(request, None)

    @app.route("/slots/<slot>/stacks", methods=["POST"])
    def stacks(self, request: IRequest, slot: str) -> Deferred[bytes]:
        """Return the stacks of one worker, or of the core."""
        return self._stacks(request, slot_or_core(slot))

    def _stacks(self, request: IRequest, slot: Slot | None) -> Deferred[bytes]:
        expect_nothing(request)
        found = shielded(self._operations.stacks(slot))
        return found.addCallback(
            lambda texts: _json(request, {str(key): texts[key] for key in texts})
        )

    @app.handle_errors(OperationError)
    def refused(self, request: IRequest, failure: Failure) -> bytes:
        """Return the response for an operation that the cluster has refused."""
        unknown = failure.check(UnknownSlotError)
        status = HTTPStatus.NOT_FOUND if unknown else HTTPStatus.CONFLICT
        return _error(request, status, str(failure.value))

    @app.handle_errors(HTTPException)
    def wrong(self, request: IRequest, failure: Failure) -> bytes:
        """Return the response for an invalid request."""
        error: Any = failure.value
        for name, value in error.get_response({}).headers:
            if name.lower() in _KEPT_FIELDS:
                request.setHeader(name, value)
        return _error(request, error.code, _words(request, error))

    @app.handle_errors(Exception)
    def failed(self, request: IRequest, failure: Failure) -> bytes:
        """Return the response for an internal error of the master."""
        self._log.failure("a request to the control socket failed", failure)
        text = f"the master failed, and has logged why: {failure.getErrorMessage()}"
        return _error(request, HTTPStatus.INTERNAL_SERVER_ERROR, text)


def _words(request: IRequest, error: HTTPException) -> str:
    """Return the error text, also for errors that werkzeug describes in HTML."""
    path = request.path.decode("utf-8", "backslashreplace")
    if isinstance(error, NotFound):
        return f"there is no {path}"
    if isinstance(error, MethodNotAllowed):
        methods = ", ".join(sorted(error.valid_methods or ()))
        return f"{path} takes {methods}, not {request.method.decode()}"
    return error.description or error.name


def _error(request: IRequest, status: int, text: str) -> bytes:
    return _json(request, {"error": text}, status)


def _json(request: IRequest, document: object, status: int = HTTPStatus.OK) -> bytes:
    body = json.dumps(document).encode() + b"\n"
    request.setResponseCode(status)
    request.setHeader("Content-Type", "application/json")
    return body
