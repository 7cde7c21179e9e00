"""Processing of what a resource's `render` has returned or raised."""

from twisted.web import server
from twisted.web.error import UnsupportedMethod
from twisted.web.resource import IResource


class Again:
    """
    A resource whose first result is known, passed to twisted.web for processing.

    :param resource: the resource.
    :param outcome: its result, or the `UnsupportedMethod` that it raised.
    """

    def __init__(self, resource: IResource, outcome: object) -> None:
        self._resource = resource
        self._outcomes = [outcome]

    def __repr__(self) -> str:
        return repr(self._resource)  # shown in the log

    def render(self, request: server.Request) -> object:
        """Return the known result once; then render anew, as for HEAD by GET."""
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
    """
    Return the error for a resource whose `render` returned neither body nor
    NOT_DONE_YET.
    """
    kind = type(resource)
    return TypeError(
        f"render of {kind.__module__}.{kind.__qualname__} returned"
        f" {'None' if body is None else type(body).__qualname__}, which is neither"
        " bytes nor NOT_DONE_YET"
    )
