"""The path of a request target, as text."""

from urllib.parse import unquote_to_bytes


def routed_path(path: bytes) -> str | None:
    """
    Decode a path to the text that Klein matches its rules with.

    :param path: a request's path as received, without the query, in origin-form.
    :returns: None if it is not UTF-8. Of several slashes at the start one is dropped,
        since Klein joins the segments of ``postpath`` by slashes and adds one only if
        there is none.
    """
    rest = path[1:]
    try:
        text = (unquote_to_bytes(rest) if b"%" in rest else rest).decode()
    except UnicodeDecodeError:
        return None
    return text if text.startswith("/") else f"/{text}"
