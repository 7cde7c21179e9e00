"""The control API: what an operator can ask of a cluster, over HTTP, as JSON."""

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

#: The fields of a routing error that mean something without its HTML.
_KEPT_FIELDS = {"allow", "location"}


class ControlApi:
    """
    Answers the requests of the control socket.

    What takes a while is answered with a line of JSON for each step, and the verdict
    in the last one. A client that leaves does not cancel it.

    :param operations: the cluster.
    """

    app = Klein()
    _log = Logger()

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    @app.route("/livez", methods=["GET"])
    def livez(self, request: IRequest) -> bytes:
        """Answer: who can has an event loop that turns."""
        return _json(request, {"alive": True})

    @app.route("/readyz", methods=["GET"])
    def readyz(self, request: IRequest) -> bytes:
        """Tell whether clients should be sent here, and failure."""
        health = self._operations.health()
        status = HTTPStatus.OK if health.ready else HTTPStatus.SERVICE_UNAVAILABLE
        return _json(request, {**health.detail, "ready": health.ready}, status)

    @app.route("/status", methods=["GET"])
    def status(self, request: IRequest) -> bytes:
        """Tell the state of the cluster and of each worker."""
        return _json(request, self._operations.status())

    @app.route("/config", methods=["GET"])
    def config(self, request: IRequest) -> bytes:
        """Tell each setting, and where its value came from."""
        return _json(request, self._operations.config())

    @app.route("/reload", methods=["POST"])
    def reload(self, request: IRequest) -> Deferred[None]:
        """Replace the workers by ones with new code."""
        expect_nothing(request)
        return follow(request, self._operations.reload)

    @app.route("/upgrade", methods=["POST"])
    def upgrade(self, request: IRequest) -> Deferred[None]:
        """Replace the master, too."""
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
        """Distribute connections in another way."""
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
        """Empty one slot."""
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
        """Get the stacks of all processes."""
        return self._stacks(request, None)

    @app.route("/slots/<slot>/stacks", methods=["POST"])
    def stacks(self, request: IRequest, slot: str) -> Deferred[bytes]:
        """Get the stacks of one worker, or of the core."""
        return self._stacks(request, slot_or_core(slot))

    def _stacks(self, request: IRequest, slot: Slot | None) -> Deferred[bytes]:
        expect_nothing(request)
        found = shielded(self._operations.stacks(slot))
        return found.addCallback(
            lambda texts: _json(request, {str(key): texts[key] for key in texts})
        )

    @app.handle_errors(OperationError)
    def refused(self, request: IRequest, failure: Failure) -> bytes:
        """Say why the cluster does not do it."""
        unknown = failure.check(UnknownSlotError)
        status = HTTPStatus.NOT_FOUND if unknown else HTTPStatus.CONFLICT
        return _error(request, status, str(failure.value))

    @app.handle_errors(HTTPException)
    def wrong(self, request: IRequest, failure: Failure) -> bytes:
        """Say what is wrong with a request."""
        error: Any = failure.value
        for name, value in error.get_response({}).headers:
            if name.lower() in _KEPT_FIELDS:
                request.setHeader(name, value)
        return _error(request, error.code, _words(request, error))

    @app.handle_errors(Exception)
    def failed(self, request: IRequest, failure: Failure) -> bytes:
        """Say that it is the master's fault."""
        self._log.failure("a request to the control socket failed", failure)
        text = f"the master failed, and has logged why: {failure.getErrorMessage()}"
        return _error(request, HTTPStatus.INTERNAL_SERVER_ERROR, text)


def _words(request: IRequest, error: HTTPException) -> str:
    """Say what is wrong, for those errors too that werkzeug has words for browsers."""
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
