"""
Parsing of forms in request bodies, in a time bounded by their length.

The arguments are those of twisted.web, whose own parsers have no bounds: a body of 16
MB can keep them busy for many seconds, and block all other requests.
"""

from base64 import b64decode
from binascii import Error as Base64Error
from binascii import a2b_qp
from http import HTTPStatus
from typing import Final
from urllib.parse import unquote_to_bytes

from multipart import (
    MultipartError,
    MultipartSegment,
    ParserError,
    ParserLimitReached,
    PushMultipartParser,
    parse_options_header,
)

from clusterapp.http.connection_limits import Limits
from clusterapp.wording import counted

_URL_ENCODED: Final = b"application/x-www-form-urlencoded"
_MULTIPART: Final = b"multipart/form-data"

#: The longest accepted boundary, in bytes; the limit of RFC 2046, section 5.1.1, is 70.
_LONGEST_BOUNDARY: Final = 256
#: The most bytes of a line in a part's head, and the most lines.
_LONGEST_PART_LINE: Final = 2048
_MOST_PART_LINES: Final = 8
_CODING: Final = "Content-Transfer-Encoding"
_ASKED_FOR: Final = ("Content-Disposition", _CODING)

#: The most escapes in those values of one form that have broken escapes: decoding such
#: a value takes thirty times as long as another one.
_MOST_AMONG_BROKEN: Final = 1000


class BadFormError(Exception):
    """
    A request's Content-Type is a form's, but its body is malformed or too large.

    :ivar status: the status of the response.
    :ivar answer: the body of the response.
    """

    def __init__(
        self, reason: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST
    ) -> None:
        super().__init__(reason)
        self.status = status
        is_broken = status == HTTPStatus.BAD_REQUEST
        self.answer = (
            b"The form cannot be read.\n"
            if is_broken
            else b"The form is too large, or has too many fields.\n"
        )


def form_of(
    content_type: bytes, body: bytes, limits: Limits
) -> dict[bytes, list[bytes]]:
    """
    Parse a form, with the results of twisted.web.

    :param content_type: the request's Content-Type.
    :param body: its body.
    :param limits: the bounds of forms are `form_fields` and `form_size`.
    :return: the values of each field; empty if the body is not a form.
    :raises BadFormError: for a form that is malformed, or too large.
    """
    kind = content_type.partition(b";")[0].strip().lower()
    if kind == _URL_ENCODED:
        return _url_encoded(body, limits)
    if kind == _MULTIPART:
        return _multipart(content_type, body, limits)
    return {}


def _url_encoded(body: bytes, limits: Limits) -> dict[bytes, list[bytes]]:
    """Parse like `twisted.web.http.parse_qs`: semicolons separate fields as well."""
    if len(body) > limits.form_size:
        raise _too_large(limits)
    if body.count(b"&") + body.count(b";") >= limits.form_fields:
        raise _too_many(limits)
    fields: dict[bytes, list[bytes]] = {}
    decoder = _Decoder()
    for each in body.replace(b"+", b" ").replace(b";", b"&").split(b"&"):
        name, found, value = each.partition(b"=")
        if found:
            fields.setdefault(decoder.decode(name), []).append(decoder.decode(value))
    return fields


class _Decoder:
    """Decodes the names and values of one form (WHATWG URL, section 5.1)."""

    def __init__(self) -> None:
        self._left = _MOST_AMONG_BROKEN

    def decode(self, text: bytes) -> bytes:
        """
        Decode a name or a value, in which pluses have been replaced by spaces.

        :raises BadFormError: if there are many escapes beside broken ones.
        """
        escapes = text.count(b"%")
        if not escapes:
            return text
        # As quoted-printable, which only has another escape sign, it is decoded in C. A
        # broken escape does not get shorter by two, unless it is at the end of a line.
        decoded: bytes = a2b_qp(text.replace(b"=", b"=3D").replace(b"%", b"="))
        ends_line = b"%\n" in text or b"%\r" in text
        if not ends_line and len(decoded) == len(text) - 2 * escapes:
            return decoded
        self._left -= escapes
        if self._left < 0:
            raise BadFormError("no form: not every % begins an escape")
        return unquote_to_bytes(text)


def _multipart(
    content_type: bytes, body: bytes, limits: Limits
) -> dict[bytes, list[bytes]]:
    """Parse the parts that have a name (RFC 7578), files included."""
    try:
        return _parts(_boundary_of(content_type), body, limits)
    except ParserLimitReached as error:
        parts = counted(limits.form_fields, "part")
        reason = f"a multipart form of more than {parts}, or of long heads"
        raise BadFormError(reason, HTTPStatus.REQUEST_ENTITY_TOO_LARGE) from error
    except MultipartError as error:
        raise BadFormError(f"no multipart form: {error}") from error


def _boundary_of(content_type: bytes) -> bytes:
    _, options = parse_options_header(content_type.decode("latin-1"))
    boundary: bytes = options.get("boundary", "").encode("latin-1")
    if not 0 < len(boundary) <= _LONGEST_BOUNDARY:
        raise BadFormError("no multipart form: no boundary, or too long a one")
    return boundary


def _parts(boundary: bytes, body: bytes, limits: Limits) -> dict[bytes, list[bytes]]:
    parser = _Parser(
        boundary,
        max_header_size=_LONGEST_PART_LINE,
        max_header_count=_MOST_PART_LINES,
        max_segment_count=limits.form_fields,
        # So that names are the received bytes, like those of urlencoded forms.
        header_charset="latin-1",
    )
    fields: dict[bytes, list[bytes]] = {}
    part, pieces = MultipartSegment([]), list[bytes]()
    with parser:
        for event in parser.parse(body):
            if parser.size > limits.form_size:
                raise _too_large(limits)
            if isinstance(event, MultipartSegment):
                part, pieces = event, []
            elif event is not None:
                pieces.append(event)
                if part.filename is None:
                    parser.size += len(event)
            elif part.name:
                name = part.name.encode("latin-1")
                fields.setdefault(name, []).append(_content(part, pieces))
    return fields


def _content(part: MultipartSegment, pieces: list[bytes]) -> bytes:
    """Return a part's content without its Content-Transfer-Encoding (RFC 7578, 4.7)."""
    content = b"".join(pieces)
    coding = part.header(_CODING, "").strip().lower()
    if coding == "quoted-printable":
        return a2b_qp(content)
    if coding == "base64":
        try:
            return b64decode(content)
        except Base64Error:
            return content  # as Python's email does
    return content


class _Parser(PushMultipartParser):  # type: ignore[misc]
    """
    Also parses parts that are not form fields: twisted.web skips them.

    :ivar size: the bytes of heads so far; the caller adds those of values.
    """

    size = 0

    def _create_segment(self, headerlist: list[tuple[str, str]]) -> MultipartSegment:
        # Heads count: parsing one takes as long as decoding an urlencoded value.
        self.size += sum(len(name) + len(value) for name, value in headerlist)
        # A hook that the library documents for subclasses. Of the heads of a thousand
        # parts, only the needed fields are parsed.
        if len({name for name, _ in headerlist}) < len(headerlist):
            raise ParserError("a field of a part is there twice")
        return MultipartSegment([pair for pair in headerlist if pair[0] in _ASKED_FOR])


def _too_many(limits: Limits) -> BadFormError:
    return BadFormError(
        f"a form of more than {counted(limits.form_fields, 'field')}",
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    )


def _too_large(limits: Limits) -> BadFormError:
    return BadFormError(
        f"a form of more than {counted(limits.form_size, 'byte')} besides its files",
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    )
