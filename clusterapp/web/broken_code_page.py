"""What a developer sees, in place of pages, while the code cannot be loaded."""

from hashlib import sha256
from http import HTTPStatus
from typing import Final

from clusterapp.http.server.prepared_response import Answer, Prepared
from clusterapp.interfaces import Fields
from clusterapp.web.failure_page import broken_page
from clusterapp.web.static.representations import NO_SNIFFING

#: By this field of an answer the page knows itself, and in which version.
_FIELD: Final = "Clusterapp-Broken"
_HTML: Final = b"text/html"


class BrokenCode:
    """Answers in place of all pages while the code is broken, with what is wrong."""

    def __init__(self) -> None:
        self._page: Prepared | None = None

    def heard(self, why: str) -> None:
        """
        Know what is wrong with the code from now on.

        :param why: it is shown as it is; if it is empty, the code is well.
        """
        self._page = _prepared(why) if why else None

    def before(self, behind: Answer | None) -> Answer:
        """
        Answer requests for pages while the code is broken.

        :param behind: what answers all others; None if the application alone does.
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
    """Tell whether HTML is asked for by name, as browsers do for pages alone."""
    return any(
        _HTML in value.lower() for name, value in fields if name.lower() == b"accept"
    )
