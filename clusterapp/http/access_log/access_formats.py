r"""
The formats of the access log; without I/O, and without reading a clock.

Data of a client can neither end a line nor close a quotation mark: in a combined line
every byte but printable ASCII, and each quotation mark and backslash, is written as
``\xHH``, so that even a parser without escapes finds the fields.
"""

import time
from collections.abc import Callable
from functools import lru_cache
from json.encoder import encode_basestring_ascii
from typing import Final, NamedTuple

from clusterapp.http.access_log.access_record import AccessRecord
from clusterapp.http.syntax.request_id import REQUEST_ID
from clusterapp.interfaces import Fields

#: Formats the line of a response that ended at this time, in seconds since the epoch.
LineFormat = Callable[[AccessRecord, float], bytes]

#: The logged status of a request whose client got no response.
NO_RESPONSE: Final = 499

_MONTHS = "JanFebMarAprMayJunJulAugSepOctNovDec"
_PLAIN = bytes(sorted(set(range(0x20, 0x7F)) - set(b'"\\')))
_ESCAPED = [
    bytes([byte]) if byte in _PLAIN else b"\\x%02X" % byte for byte in range(256)
]
#: The bytes to which each value of a line that is too long is cut, on the first and on
#: the last attempt: one byte takes up to six, and a line has four such values.
_CUTS = (850, 110)
_LONGEST_CLIENT = 64


class WorkerIdentity(NamedTuple):
    """
    The process that writes a log.

    :ivar slot: the number of the worker's slot.
    :ivar generation: the version of code and settings that it runs.
    :ivar pid: its process id.
    """

    slot: int
    generation: int
    pid: int


def combined_lines(most: int) -> LineFormat:
    """
    Return a formatter of the combined format of NCSA's and Apache's servers.

    :param most: the longest line in bytes; in a longer one, values are cut.
    """
    second, timestamp = -1, b""

    def line(answered: AccessRecord, now: float) -> bytes:
        nonlocal second, timestamp
        if int(now) != second:
            second = int(now)
            timestamp = _local_time(second)
        written = _combined(answered, timestamp)
        if len(written) > most:
            return _shorter(answered, most, lambda cut: _combined(cut, timestamp))
        return written

    return line


def json_lines(worker: WorkerIdentity, most: int) -> LineFormat:
    """
    Return a formatter whose lines are one JSON object each.

    :param worker: the process that writes the lines.
    :param most: the longest line in bytes; in a longer one, values are cut.
    """
    second, timestamp = -1, ""
    slot, generation, pid = worker
    identity = f'"slot":{slot},"generation":{generation},"pid":{pid}'

    def line(answered: AccessRecord, now: float) -> bytes:
        nonlocal second, timestamp
        if int(now) != second:
            second = int(now)
            timestamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        exact = f"{timestamp}.{int(now % 1 * 1000):03d}Z"
        written = _json(answered, exact, identity)
        if len(written) > most:
            return _shorter(answered, most, lambda cut: _json(cut, exact, identity))
        return written

    return line


def _combined(answered: AccessRecord, timestamp: bytes) -> bytes:
    client, method, target, version, fields, status, sent, _, _ = answered
    referer = agent = b""
    for name, value in fields:
        # The cheap comparison of lengths first excludes nearly every field.
        if len(name) == 10 and name.lower() == b"user-agent":  # noqa: PLR2004
            agent = agent or value
        elif len(name) == 7 and name.lower() == b"referer":  # noqa: PLR2004
            referer = referer or value
    asked = b"%b %b %b" % (method, target, version) if method != b"-" else b"-"
    if (asked + referer + agent).translate(None, _PLAIN):
        asked, referer, agent = _escape(asked), _escape(referer), _escape(agent)
    return b'%b - - [%b] "%b" %d %d "%b" "%b"\n' % (
        _word(client) or b"-",
        timestamp,
        asked,
        status or NO_RESPONSE,
        sent,
        referer or b"-",
        agent or b"-",
    )


def _json(answered: AccessRecord, timestamp: str, identity: str) -> bytes:
    client, method, target, version, fields, status, sent, seconds, complete = answered
    if method == b"-":
        method = target = version = b""
    referer, agent, request_id = _named(fields)
    return (
        f'{{"time":"{timestamp}","client":{encode_basestring_ascii(client)},'
        f'"method":{_text(method)},"target":{_text(target)},'
        f'"version":{_text(version)},"status":{status or NO_RESPONSE},'
        f'"bytes":{sent},"complete":{"true" if complete else "false"},'
        f'"duration_ms":{seconds * 1000:.3f},'
        f'"referer":{_text(referer)},"user_agent":{_text(agent)},{identity},'
        f'"request_id":{_text(request_id)}}}\n'
    ).encode("ascii")


def _named(fields: Fields) -> tuple[bytes, bytes, bytes]:
    """Return referer, user agent and request id; the first one of a repeated field."""
    referer = agent = request_id = b""
    for name, value in fields:
        match len(name):
            case 7 if name.lower() == b"referer":
                referer = referer or value
            case 10 if name.lower() == b"user-agent":
                agent = agent or value
            case 12 if name.lower() == b"x-request-id":
                request_id = request_id or value
    if not REQUEST_ID.fullmatch(request_id):
        request_id = b""
    return referer, agent, request_id


def _text(value: bytes) -> str:
    """Return a JSON string, or null for an empty value."""
    if not value:
        return "null"
    return encode_basestring_ascii(value.decode("utf-8", "backslashreplace"))


def _escape(value: bytes) -> bytes:
    return b"".join([_ESCAPED[byte] for byte in value])


@lru_cache(1024)
def _word(text: str) -> bytes:
    """Return a value that is written without quotation marks, so without spaces."""
    return _escape(text.encode("utf-8", "backslashreplace")).replace(b" ", b"\\x20")


def _local_time(second: int) -> bytes:
    there = time.localtime(second)
    sign = "-" if there.tm_gmtoff < 0 else "+"
    hours, minutes = divmod(abs(there.tm_gmtoff) // 60, 60)
    # Not strftime's %b, which depends on the locale.
    month = _MONTHS[3 * there.tm_mon - 3 : 3 * there.tm_mon]
    return (
        f"{there.tm_mday:02d}/{month}/{there.tm_year}:"
        f"{there.tm_hour:02d}:{there.tm_min:02d}:{there.tm_sec:02d} "
        f"{sign}{hours:02d}{minutes:02d}"
    ).encode("ascii")


def _shorter(
    answered: AccessRecord, most: int, write: Callable[[AccessRecord], bytes]
) -> bytes:
    """Format a line with as much of each value as fits."""
    written = b""
    for length in _CUTS:
        written = write(_cut(answered, length))
        if len(written) <= most:
            break
    return written


def _cut(answered: AccessRecord, length: int) -> AccessRecord:
    """Cut each value to its beginning, marked by three dots."""

    def cut(value: bytes) -> bytes:
        return value if len(value) <= length else value[: length - 3] + b"..."

    return answered._replace(
        client=answered.client[:_LONGEST_CLIENT],
        method=cut(answered.method),
        target=cut(answered.target),
        # Half a request id would be another id.
        fields=[
            (name, value if name.lower() == b"x-request-id" else cut(value))
            for name, value in answered.fields
        ],
    )
