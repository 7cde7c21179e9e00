"""The documentation's links, and that its examples are whole programs."""

import ast
import re
from collections.abc import Iterator

from twisted.trial.unittest import SynchronousTestCase

from tests.documented import ROOT, blocks

PAGES = sorted(
    path
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/*.md"))
    if ".venv" not in path.parts
)

_LINK = re.compile(r"\[[^\[\]]*\]\(([^()\s]+)\)")
_HEADING = re.compile(r"(?m)^#{1,6} +(.*?) *$")
_FENCE = re.compile(r"(?ms)^ *```.*?^ *```$")


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    for heading in _HEADING.findall(_FENCE.sub("", text)):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        anchor = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        while anchor in found:
            anchor += "-1"
        found.add(anchor)
    return found


def links(text: str) -> Iterator[str]:
    """Return the targets of a page's links, but for those to other sites."""
    for target in _LINK.findall(_FENCE.sub("", text)):
        if not re.match(r"[a-z]+:", target):
            yield target


class LinkTests(SynchronousTestCase):
    """Every relative link leads somewhere."""

    def test_links(self) -> None:
        """To a file that is there, and to a heading that it has."""
        wrong = []
        for page in PAGES:
            for target in links(page.read_text("utf-8")):
                name, _, anchor = target.partition("#")
                path = (page.parent / name).resolve() if name else page
                if not path.exists():
                    wrong.append(f"{page.relative_to(ROOT)}: no file {target}")
                elif anchor and anchor not in anchors(path.read_text("utf-8")):
                    wrong.append(f"{page.relative_to(ROOT)}: no anchor {target}")
        self.assertEqual(wrong, [])

    def test_there_are_links(self) -> None:
        """What finds none of them finds no wrong one."""
        readme = (ROOT / "README.md").read_text("utf-8")
        self.assertIn("docs/settings.md", set(links(readme)))
        self.assertIn("while-it-runs", anchors(readme))


class ExampleTests(SynchronousTestCase):
    """Every block of Python says which file it is, or is a part of."""

    def test_marked(self) -> None:
        for page in PAGES:
            text = page.read_text("utf-8")
            marked = sum(block.language == "python" for block in blocks(text))
            self.assertEqual(marked, text.count("```python\n"), page)

    def test_syntax(self) -> None:
        for page in PAGES:
            for block in blocks(page.read_text("utf-8")):
                if block.language == "python":
                    ast.parse(block.text)
