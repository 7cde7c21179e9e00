"""Processing of what a resource's `render` has returned or raised."""

from twisted.web.error import UnsupportedMethod
from twisted.web.resource import IResource


class RenderedResource:
    """
    A resource whose first result is known, passed to twisted.web for processing.

    :param resource: the resource.
    :param outcome: its result, or the `UnsupportedMethod` that it raised.
    """

    def __init__(self, resource: IResource, outcome: object) -> None:
        self._resource = resource
        self._outcome = outcome

    def __repr__(self) -> str:
        return repr(self._resource)  # shown in the log

    def render(self, request: object) -> object:  # noqa: ARG002
        """Return the known result, or raise the known exception."""
        if isinstance(self._outcome, UnsupportedMethod):
            raise self._outcome
        return self._outcome


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
