"""
Make the compressed siblings of static files.

``python -m clusterapp.web.compress FOLDER`` writes ``app.css.gz`` beside ``app.css``,
and ``app.css.br`` and ``app.css.zst`` where the packages brotli and zstandard are
installed. A sibling gets the time of its file, so that it tells which version it was
made of: neither this command nor the server takes one that is older than its file.
"""

import argparse
import gzip
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from importlib import import_module
from pathlib import Path
from stat import S_IMODE
from typing import Final, TextIO

from clusterapp.web.static.accept_encoding import CODINGS, SUFFIXES
from clusterapp.web.static.media_types import is_compressible

Compressor = Callable[[bytes], bytes]

#: The head of an answer is about as long: less is not worth a file.
_LEAST_BYTES: Final = 256
_BAR: Final = 24


class Outcome(Enum):
    """What became of one sibling of one file."""

    MADE = "made"
    FRESH = "already there"
    LARGER = "not smaller than their files"
    FAILED = "failed"


def compressors() -> dict[bytes, Compressor]:
    """Give what is installed here, by the names of the encodings."""
    found: dict[bytes, Compressor] = {
        # Without a time in it, the same content gives the same bytes.
        b"gzip": lambda content: gzip.compress(content, 9, mtime=0)
    }
    for coding, load in ((b"br", _brotli), (b"zstd", _zstandard)):
        try:
            found[coding] = load()
        except ImportError:
            continue
    return {coding: found[coding] for coding in CODINGS if coding in found}


def _brotli() -> Compressor:
    # The best that it has is what it does by default.
    compress: Compressor = import_module("brotli").compress
    return compress


def _zstandard() -> Compressor:
    compress: Compressor = import_module("zstandard").ZstdCompressor(level=19).compress
    return compress


def find_files(folder: Path) -> list[Path]:
    """
    Find the files below a folder that are worth compressing, in their order.

    Neither hidden ones nor links: the first are not served, and the siblings of the
    second would have to be where they lead.

    :raises OSError: a folder cannot be read.
    """
    return sorted(path for path in _walk(folder) if _is_worthwhile(path))


def _walk(folder: Path) -> Iterator[Path]:
    for entry in folder.iterdir():
        if entry.name.startswith(".") or entry.is_symlink():
            continue
        if entry.is_dir():
            yield from _walk(entry)
        elif entry.is_file():
            yield entry


def _is_worthwhile(path: Path) -> bool:
    return is_compressible(path.name) and path.stat().st_size >= _LEAST_BYTES


def compress(path: Path, coding: bytes, compressor: Compressor) -> Outcome:
    """
    Make one sibling of a file, unless there is one that is not older.

    It is put in place by renaming it, so nobody ever sees a part of it.

    :raises OSError: the file cannot be read, or the sibling not written.
    """
    sibling = path.with_name(path.name + SUFFIXES[coding].decode())
    with path.open("rb") as file:
        # Before it is read: what is written meanwhile must make the sibling old.
        facts = os.fstat(file.fileno())
        if _is_fresh(sibling, facts):
            return Outcome.FRESH
        content = file.read()
    compressed = compressor(content)
    if len(compressed) >= len(content):
        return Outcome.LARGER
    _put(sibling, compressed, facts)
    return Outcome.MADE


def _is_fresh(sibling: Path, facts: os.stat_result) -> bool:
    try:
        return sibling.stat().st_mtime_ns >= facts.st_mtime_ns
    except FileNotFoundError:
        return False


def _put(path: Path, content: bytes, facts: os.stat_result) -> None:
    """Write a file with the mode and the times of another."""
    # Its name begins with a dot, so it is not served meanwhile.
    number, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", dir=path.parent)
    unfinished = Path(name)
    try:
        with open(number, "wb") as file:  # noqa: PTH123 - it is open already
            file.write(content)
            os.fchmod(number, S_IMODE(facts.st_mode))
        os.utime(unfinished, ns=(facts.st_atime_ns, facts.st_mtime_ns))
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink()
        raise


class Progress:
    """
    Shows how far the work is: a bar on a terminal, a line for each file elsewhere.

    :param out: where to.
    :param total: how many files there are.
    """

    def __init__(self, out: TextIO, total: int) -> None:
        self._out = out
        self._total = total
        self._is_bar = out.isatty()

    def begin(self, number: int, name: str) -> None:
        """Tell which file is worked on, from 1."""
        if self._is_bar:
            full = _BAR * (number - 1) // self._total
            bar = "#" * full + "-" * (_BAR - full)
            self._show(f"[{bar}] {number}/{self._total} {name}")
        else:
            self._out.write(f"{name}\n")

    def clear(self) -> None:
        """Take the bar away, so that a line can be written in its place."""
        if self._is_bar:
            self._show("")

    def _show(self, text: str) -> None:
        width = shutil.get_terminal_size().columns - 1
        # Back to the beginning of the line, and away with what was there.
        self._out.write(f"\r\x1b[K{text[:width]}")
        self._out.flush()


def compress_all(
    folder: Path, chosen: Mapping[bytes, Compressor], out: TextIO, errors: TextIO
) -> Counter[Outcome]:
    """
    Make all siblings that are missing or old; one that fails does not stop the rest.

    :param folder: the folder.
    :param chosen: what to compress with, by the names of the encodings.
    :param out: where progress goes.
    :param errors: where errors go, a line each.
    :returns: how many siblings came to what.
    :raises OSError: the folder, or one in it, cannot be read.
    """
    outcomes: Counter[Outcome] = Counter()
    paths = find_files(folder)
    progress = Progress(out, len(paths))
    for number, path in enumerate(paths, 1):
        progress.begin(number, _shown(path.relative_to(folder)))
        for coding, compressor in chosen.items():
            try:
                outcomes[compress(path, coding, compressor)] += 1
            except OSError as error:
                outcomes[Outcome.FAILED] += 1
                progress.clear()
                errors.write(f"cannot compress {_shown(path)}: {error.strerror}\n")
    progress.clear()
    return outcomes


def _shown(path: Path) -> str:
    """Write a path for people; a name may be no text, or steer a terminal."""
    text = os.fsencode(path).decode(errors="replace")
    return "".join(
        each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text
    )


def main(arguments: Sequence[str], out: TextIO, errors: TextIO) -> int:
    """
    Run the command.

    :param arguments: those of the command line, without the program's name.
    :param out: where progress and the summary go.
    :param errors: where errors go.
    :returns: the exit status: 0, or 1 if anything failed.
    """
    parser = argparse.ArgumentParser(
        prog="python -m clusterapp.web.compress",
        description="Make the compressed siblings (.br, .zst, .gz) of the static"
        " files in a folder, where they are missing or older than their files.",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    folder: Path = parser.parse_args(arguments).folder
    chosen = compressors()
    try:
        outcomes = compress_all(folder, chosen, out, errors)
    except OSError as error:
        where = _shown(Path(error.filename or folder))
        errors.write(f"cannot read {where}: {error.strerror}\n")
        return 1
    out.write(f"{_summary(outcomes)}\n")
    missing = [coding.decode() for coding in CODINGS if coding not in chosen]
    if missing:
        out.write(
            f"not tried, since the packages are missing: {', '.join(missing)}"
            " (pip install 'clusterapp[compress]')\n"
        )
    return 1 if outcomes[Outcome.FAILED] else 0


def _summary(outcomes: Counter[Outcome]) -> str:
    counts = [f"{count} {outcome.value}" for outcome, count in outcomes.items()]
    return f"compressed siblings: {', '.join(counts) or 'none to make'}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], sys.stdout, sys.stderr))
