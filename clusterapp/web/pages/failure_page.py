"""The HTML page that shows an error to the developers of the application."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, Template
from markupsafe import Markup
from twisted.python.failure import Failure
from twisted.python.reflect import safe_str

from clusterapp.system.regular import read_regular
from clusterapp.tracebacks import format_failure

#: The number of lines shown before and after the failed line.
_AROUND = 5

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ kind }}: {{ message }}</title>
<style>
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #fff; --ink: #1d2430; --soft: #5c6675;
  --line: #dce0e6; --bad: #b3261e; --mark: #fdecea;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14171c; --card: #1c2027; --ink: #e4e8ee; --soft: #9aa4b2;
    --line: #303640; --bad: #ff8a80; --mark: #44211f;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; padding: 2rem 1rem; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif;
}
main { max-width: 60rem; margin: 0 auto; }
h1 { margin: 0 0 .25rem; font-size: 1.5rem; overflow-wrap: anywhere; }
h1 span { color: var(--bad); }
h2 { margin: 0; padding: .75rem 1rem; font-size: 1rem; overflow-wrap: anywhere;
  border-bottom: 1px solid var(--line); }
p { margin: 0; color: var(--soft); }
section { margin: 1.5rem 0; background: var(--card); border: 1px solid var(--line);
  border-radius: 8px; overflow: hidden; }
pre, ol { margin: 0; padding: .75rem 0; overflow-x: auto; list-style: none;
  font: 14px/1.6 ui-monospace, monospace; }
pre { padding: .75rem 1rem; }
li { padding: 0 1rem; white-space: pre; width: max-content; min-width: 100%; }
li::before { content: attr(value); display: inline-block; width: 3rem;
  padding-right: 1rem; text-align: right; color: var(--soft); }
li.here { background: var(--mark); box-shadow: inset 3px 0 var(--bad); }
</style>
</head>
<body>
<main>
<h1><span>{{ kind }}</span> {{ message }}</h1>
<p>{{ note }} This page is shown because the server runs with --reload.</p>
{% if excerpt %}
<section>
<h2>{{ excerpt.name }}, line {{ excerpt.line }}</h2>
<ol>
{% for number, text in excerpt.lines %}
<li value="{{ number }}"{% if number == excerpt.line %} class="here"{% endif %}>
{{- text }}</li>
{% endfor %}
</ol>
</section>
{% endif %}
<section>
<h2>{{ heading }}</h2>
<pre>{{ traceback }}</pre>
</section>
</main>
{{ script }}
</body>
</html>
"""

#: The script that reloads the page as soon as the response is no longer this page.
_COME_BACK = """\
<script>
setInterval(async () => {
  const answer = await fetch(location, {
    headers: {Accept: "text/html"}, cache: "no-store"
  }).catch(() => null);
  if (answer && answer.headers.get("%s") !== "%s") location.reload();
}, 1000);
</script>"""


@dataclass(frozen=True)
class Excerpt:
    """
    The lines of a template around an error.

    :param name: the name of the template.
    :param line: the number of the failed line, from 1.
    :param lines: the failed line and the lines around it, with their numbers.
    """

    name: str
    line: int
    lines: list[tuple[int, str]]


def failure_page(why: Failure, templates: Path | None) -> bytes:
    """
    Return an HTML page with an error, the template's lines and the traceback.

    The page shows code, paths and values: it is for developers only.

    :param why: the error; if a template raised it, Jinja2 has put the template's
        line into the traceback.
    :param templates: the application's folder of templates, if any.
    """
    return _rendered(
        kind=why.type.__name__ if why.type else "Failure",
        message=safe_str(why.value),
        note="The request failed.",
        excerpt=_excerpt(why, templates.absolute()) if templates else None,
        heading="Traceback",
        traceback=format_failure(why),
    )


def broken_page(why: str, field: str, mark: str) -> bytes:
    """
    Return an HTML page about code that cannot be loaded, which reloads by itself.

    :param why: the error, such as a traceback.
    :param field: the name of the response field that identifies this page.
    :param mark: the value of that field, of letters and digits.
    """
    lines = why.strip().splitlines()
    return _rendered(
        kind="Not reloaded",
        message=lines[-1] if lines else "",
        note="The code as it is now cannot be loaded. The old code goes on serving"
        " all other requests, and this page loads again when the new code is well.",
        heading="What is wrong",
        traceback=why.strip("\n"),
        script=Markup(_COME_BACK % (field, mark)),  # noqa: S704 - neither is markup
    )


def _rendered(**values: object) -> bytes:
    # A file name may have bytes that cannot be decoded.
    return _page().render(values).encode("utf-8", "backslashreplace")


@cache
def _page() -> Template:
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_PAGE)


def _excerpt(why: Failure, templates: Path) -> Excerpt | None:
    """Return the excerpt of the innermost template in a traceback, if any."""
    for _, file, line, *_ in reversed(why.frames):
        path = Path(file)
        if path.is_relative_to(templates):
            name = path.relative_to(templates).as_posix()
            return Excerpt(name, line, list(_around(path, line)))
    return None


def _around(path: Path, line: int) -> Iterator[tuple[int, str]]:
    try:
        text = read_regular(path).decode("utf-8", "replace")
    except OSError:
        return  # the file no longer exists, or cannot be read
    lines = text.splitlines()
    first = max(1, line - _AROUND)
    yield from enumerate(lines[first - 1 : line + _AROUND], first)
