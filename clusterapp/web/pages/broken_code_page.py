"""The error page served in place of all pages while the newest code cannot load."""

from hashlib import sha256
from http import HTTPStatus
from typing import Final

from clusterapp.http.server.prepared_response import Answer, Prepared
from clusterapp.interfaces import Fields
from clusterapp.web.pages.failure_page import broken_page
from clusterapp.web.static.representations import NO_SNIFFING

#: The response field by which the page's script recognises the page and its version.
_FIELD: Final = "Clusterapp-Broken"
_HTML: Final = b"text/html"


class BrokenCode:
    """The answer to all requests for pages while the newest code cannot be loaded."""

    def __init__(self) -> None:
        self._page: Prepared | None = None

    def set_error(self, why: str) -> None:
        """
        Set the error that is shown.

        :param why: the error, shown unchanged; empty if the code loads.
        """
        self._page = _prepared(why) if why else None

    def before(self, behind: Answer | None) -> Answer:
        """
        Return an answer function that answers requests for pages while code is broken.

        :param behind: the answer function for all other requests; None if only the
            application answers them.
        """

        def answer(method: bytes, target: bytes, fields: Fields) -> Prepared | None:
            if self._page is not None and method == b"GET" and _wants_page(fields):
                return self._page
            return None if behind is None else behind(method, target, fields)

        return answer


def _prepared(why: str) -> Prepared:
    mark = sha256(why.encode("utf-8", "backslashreplace")).hexdigest()[:16]
    fields = [
        (b"Content-Type", b"text/html; charset=utf-8"),
        (b"Cache-Control", b"no-store"),
        (_FIELD.encode(), mark.encode()),
        NO_SNIFFING,
    ]
    page = broken_page(why, _FIELD, mark)
    return Prepared(HTTPStatus.INTERNAL_SERVER_ERROR, fields, [page])


def _wants_page(fields: Fields) -> bool:
    """Return whether Accept names HTML, as browsers do for pages only."""
    return any(
        _HTML in value.lower() for name, value in fields if name.lower() == b"accept"
    )
