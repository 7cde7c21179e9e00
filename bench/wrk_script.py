"""The requests that wrk sends, as a script in Lua: each one differs from all before."""

import secrets

from bench.works import HEADERS, Work

_HEAD = """\
-- Made for one run of wrk. No two requests are the same, of this run or another.
local prefix, count = "{prefix}", 0
math.randomseed({seed})

function request()
  count = count + 1
  local id = prefix .. count
  local choice = math.random(0, {last})
  local body = {body}
  return {head} .. body
end
"""


def script(work: Work, place: str) -> str:
    """
    Return the script of a work's requests.

    :param place: the host and port, for the Host field.
    """
    method = "POST" if work.body else "GET"
    lines = [f"{method} {work.target} HTTP/1.1", f"Host: {place}", *HEADERS]
    if work.content_type:
        lines += [f"Content-Type: {work.content_type}", "Content-Length: {length}"]
    if work.one_request_each:
        lines.append("Connection: close")
    return _HEAD.format(
        # An identity has the same length throughout a run, or nearly so.
        prefix=f"u{secrets.token_hex(4)}x",
        seed=secrets.randbelow(1 << 31),
        last=work.choices - 1,
        body=_expression(work.body),
        head=_expression("".join(f"{line}\r\n" for line in (*lines, ""))),
    )


def _expression(text: str) -> str:
    """Return a Lua expression of a text with placeholders."""
    quoted = text.replace("\r\n", "\\r\\n")
    for name, value in (("id", "id"), ("choice", "choice"), ("length", "#body")):
        quoted = quoted.replace(f"{{{name}}}", f'" .. {value} .. "')
    return f'"{quoted}"'
