"""The health check on the public port: whether the cluster is ready for clients."""

from http import HTTPStatus
from typing import Final

from clusterapp.http.server.prepared_response import Answer, Prepared
from clusterapp.interfaces import Fields
from clusterapp.web.static.representations import NO_SNIFFING

_METHODS: Final = (b"GET", b"HEAD")


def _answer(status: HTTPStatus, detail: str) -> Prepared:
    fields = [
        (b"Content-Type", b"application/json"),
        (b"Cache-Control", b"no-store"),
        NO_SNIFFING,
    ]
    return Prepared(status, fields, [detail.encode()])


#: The answer until the master has reported the readiness of the cluster.
_UNHEARD: Final = _answer(
    HTTPStatus.SERVICE_UNAVAILABLE,
    '{"ready": false, "reason": "nothing is known of the cluster yet"}',
)
_AS_CANARY: Final = _answer(HTTPStatus.OK, '{"ready": true, "trial": true}')


class PublicHealth:
    """
    The health check at one path of the public port.

    While the cluster is not ready, the answer is 503. When it is ready, a route of the
    application or the core at that path answers; without such a route, it is 200.

    :param path: the path, as `Settings.health_path` has it.
    :param as_canary: whether this worker is a canary. Its requests are the master's,
        about this worker's application, so the readiness of the cluster is ignored.
    """

    def __init__(self, path: str, *, as_canary: bool) -> None:
        #: The path as in a request target, in bytes.
        self.path = path.encode()
        self._as_canary = as_canary
        self._ready = False
        self._cluster_reply = _UNHEARD

    def set_readiness(self, *, ready: bool, detail: str) -> None:
        """
        Set the readiness of the cluster.

        :param ready: whether load balancers should send clients to it.
        :param detail: the body of the answer: the reason, as JSON.
        """
        self._ready = ready
        status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
        self._cluster_reply = _answer(status, detail)

    def canary_passed(self) -> None:
        """Called when the canary check has passed: report the cluster's readiness."""
        self._as_canary = False

    def before(self, behind: Answer | None, *, routed: bool) -> Answer:
        """
        Return an answer function for the path; other requests cost two comparisons.

        :param behind: the answer function for all other requests; None if only the
            application answers them.
        :param routed: whether the application or the core has a route at the path.
        """
        path, with_query = self.path, self.path + b"?"

        def answer(method: bytes, target: bytes, fields: Fields) -> Prepared | None:
            if target == path or target.startswith(with_query):
                reply = self._reply_for(routed) if method in _METHODS else None
                if reply is not None:
                    return reply
            return None if behind is None else behind(method, target, fields)

        return answer

    def _reply_for(self, routed: bool) -> Prepared | None:
        """Return the answer; None if the application or the core answers."""
        if not (self._ready or self._as_canary):
            return self._cluster_reply
        if routed:
            return None
        return _AS_CANARY if self._as_canary else self._cluster_reply
