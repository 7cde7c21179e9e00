"""What a resource's `render` has returned or raised."""

from twisted.web import server
from twisted.web.error import UnsupportedMethod
from twisted.web.resource import IResource


class Again:
    """
    A resource whose first answer is known, for twisted.web to make sense of.

    :param resource: the resource.
    :param outcome: what it returned, or the `UnsupportedMethod` that it raised.
    """

    def __init__(self, resource: IResource, outcome: object) -> None:
        self._resource = resource
        self._outcomes = [outcome]

    def __repr__(self) -> str:
        return repr(self._resource)  # which is what the log shows

    def render(self, request: server.Request) -> object:
        """Give the known answer once; then ask again, as for a HEAD made of a GET."""
        if not self._outcomes:
            body = self._resource.render(request)
            if not (isinstance(body, bytes) or body is server.NOT_DONE_YET):
                raise not_bytes(self._resource, body)
            return body
        outcome = self._outcomes.pop()
        if isinstance(outcome, UnsupportedMethod):
            raise outcome
        return outcome


def not_bytes(resource: IResource, body: object) -> TypeError:
    """Return the error of a resource that has returned something else than a body."""
    kind = type(resource)
    return TypeError(
        f"render of {kind.__module__}.{kind.__qualname__} returned"
        f" {'None' if body is None else type(body).__qualname__}, which is neither"
        " bytes nor NOT_DONE_YET"
    )
