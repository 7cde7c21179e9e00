"""The form that a request's body may be."""

from twisted.web import http

_URL_ENCODED = b"application/x-www-form-urlencoded"
_MULTIPART = b"multipart/form-data"


class BadFormError(Exception):
    """A request says that its body is a form, and it is none."""


def form_of(content_type: bytes, body: bytes) -> dict[bytes, list[bytes]]:
    """
    Read a form, as twisted.web does.

    :param content_type: the request's Content-Type.
    :param body: its body.
    :return: the fields; none where the body is no form.
    :raises BadFormError: for a multipart form that cannot be read.
    """
    if not content_type:
        return {}
    # Both are twisted.web's own, and not promised; read in Twisted 26.10.
    kind = http._parseContentType(content_type)  # noqa: SLF001
    if kind == _URL_ENCODED:
        fields: dict[bytes, list[bytes]] = http.parse_qs(body, 1)
        return fields
    if kind != _MULTIPART:
        return {}
    try:
        return http._getMultiPartArgs(body, content_type)  # noqa: SLF001
    except http._MultiPartParseException as error:  # noqa: SLF001
        raise BadFormError(f"no multipart form: {error}") from error
