"""Whether clients should be sent to this cluster, told on the public port."""

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


#: What is said until the master has said more.
_UNHEARD: Final = _answer(
    HTTPStatus.SERVICE_UNAVAILABLE,
    '{"ready": false, "reason": "nothing is known of the cluster yet"}',
)
_ON_TRIAL: Final = _answer(HTTPStatus.OK, '{"ready": true, "trial": true}')


class PublicHealth:
    """
    What one path of the public port says of the cluster.

    While the cluster is not ready that is 503. When it is, a route of the application
    or the core at that path decides; where there is none, it is 200.

    :param path: the path, as `Settings.health_path` has it.
    :param on_trial: whether the master still tries this worker. Who asks then is the
        master, about this worker's application, whatever the cluster's health.
    """

    def __init__(self, path: str, *, on_trial: bool) -> None:
        #: The path, as it stands in a request's target.
        self.path = path.encode()
        self._on_trial = on_trial
        self._ready = False
        self._said = _UNHEARD

    def heard(self, *, ready: bool, detail: str) -> None:
        """
        Know the cluster's health from now on.

        :param ready: whether clients should be sent to it.
        :param detail: why, as JSON; clients see it.
        """
        self._ready = ready
        status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
        self._said = _answer(status, detail)

    def trial_is_over(self) -> None:
        """Answer clients from now on, and not the master alone."""
        self._on_trial = False

    def before(self, behind: Answer | None, *, routed: bool) -> Answer:
        """
        Answer requests for the path; all others cost a comparison or two.

        :param behind: what answers them; None if that is for the application alone.
        :param routed: whether the application or the core has a route at the path.
        """
        path, with_query = self.path, self.path + b"?"

        def answer(method: bytes, target: bytes, fields: Fields) -> Prepared | None:
            if target == path or target.startswith(with_query):
                said = self._say(routed) if method in _METHODS else None
                if said is not None:
                    return said
            return None if behind is None else behind(method, target, fields)

        return answer

    def _say(self, routed: bool) -> Prepared | None:
        """Give the answer; None where the application is to give it."""
        if not (self._ready or self._on_trial):
            return self._said
        if routed:
            return None
        return _ON_TRIAL if self._on_trial else self._said
