"""The examples of the documentation, as the files that they are said to be."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]

#: A block of a file: a comment that Markdown does not show, and the block behind it.
_BLOCK = re.compile(r"(?ms)^<!-- file: (\S+) -->\n```(\w+)\n(.*?)^```$")


class Block(NamedTuple):
    """A block of an example: the file that it belongs to, its language, its text."""

    file: str
    language: str
    text: str


def blocks(text: str) -> Iterator[Block]:
    """Return the blocks of a page that say which file they belong to."""
    for match in _BLOCK.finditer(text):
        yield Block(*match.groups())


def write_examples(page: str, folder: Path, before: str = "") -> list[Path]:
    """
    Write the examples of a page into a folder; blocks of one file are put together.

    :param page: the path of the page in the repository.
    :param folder: where the files are to be.
    :param before: what stands before each program of Python, where the page says in
        words what it has.
    :return: the programs of Python.
    """
    programs = []
    for block in blocks((ROOT / page).read_text("utf-8")):
        path = folder / block.file
        path.parent.mkdir(parents=True, exist_ok=True)
        is_python = block.language == "python"
        if not path.exists():
            path.write_text(before if is_python else "", "utf-8")
            if is_python:
                programs.append(path)
        with path.open("a", encoding="utf-8") as file:
            file.write(block.text + "\n")
    return programs
