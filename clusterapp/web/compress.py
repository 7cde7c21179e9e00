"""
The command that makes precompressed siblings of static files.

``python -m clusterapp.web.compress FOLDER`` writes ``app.css.gz`` next to ``app.css``,
and ``app.css.br`` and ``app.css.zst`` if the packages brotli and zstandard are
installed. A sibling gets the modification time of its file, which identifies the
version that it was made of: neither this command nor the server uses a sibling that is
older than its file.
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

#: The least size of a file to compress: a response head is about as long.
_LEAST_BYTES: Final = 256
_BAR: Final = 24


class Outcome(Enum):
    """The outcome for one sibling of one file."""

    MADE = "made"
    FRESH = "already there"
    LARGER = "not smaller than their files"
    FAILED = "failed"


def compressors() -> dict[bytes, Compressor]:
    """Return the installed compressors, by the names of their content codings."""
    found: dict[bytes, Compressor] = {
        # mtime=0: without a time in it, the same content gives the same bytes.
        b"gzip": lambda content: gzip.compress(content, 9, mtime=0)
    }
    for coding, load in ((b"br", _brotli), (b"zstd", _zstandard)):
        try:
            found[coding] = load()
        except ImportError:
            continue
    return {coding: found[coding] for coding in CODINGS if coding in found}


def _brotli() -> Compressor:
    # The default quality of brotli is its best.
    compress: Compressor = import_module("brotli").compress
    return compress


def _zstandard() -> Compressor:
    compress: Compressor = import_module("zstandard").ZstdCompressor(level=19).compress
    return compress


def find_files(folder: Path) -> list[Path]:
    """
    Return the files below a folder that are worth compressing, sorted.

    Hidden files and symbolic links are skipped: hidden files are not served, and the
    siblings of a link would have to be next to its target.

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
    Make one sibling of a file, unless a sibling exists that is not older.

    The sibling is written under another name and renamed, so no reader ever gets an
    incomplete file.

    :param path: the file.
    :param coding: the name of the content coding.
    :param compressor: the function that compresses the content.
    :raises OSError: the file cannot be read, or the sibling cannot be written.
    """
    sibling = path.with_name(path.name + SUFFIXES[coding].decode())
    with path.open("rb") as file:
        # Before reading: a write meanwhile must make the sibling older than the file.
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
    """Write a file with the mode and the times in `facts`, by renaming it."""
    # The temporary name begins with a dot, so that the file is not served.
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


class ProgressBar:
    """
    The progress display: a bar on a terminal, else one line per file.

    :param out: the output stream.
    :param total: the number of files.
    """

    def __init__(self, out: TextIO, total: int) -> None:
        self._out = out
        self._total = total
        self._is_bar = out.isatty()

    def begin(self, number: int, name: str) -> None:
        """Show that the file of this number, from 1, is being compressed."""
        if self._is_bar:
            full = _BAR * (number - 1) // self._total
            bar = "#" * full + "-" * (_BAR - full)
            self._show(f"[{bar}] {number}/{self._total} {name}")
        else:
            self._out.write(f"{name}\n")

    def clear(self) -> None:
        """Erase the bar, so that a line can be written in its place."""
        if self._is_bar:
            self._show("")

    def _show(self, text: str) -> None:
        width = shutil.get_terminal_size().columns - 1
        # A carriage return, and the terminal's sequence that erases the line.
        self._out.write(f"\r\x1b[K{text[:width]}")
        self._out.flush()


def compress_all(
    folder: Path, chosen: Mapping[bytes, Compressor], out: TextIO, errors: TextIO
) -> Counter[Outcome]:
    """
    Make all siblings that are missing or outdated, and continue after failures.

    :param folder: the folder.
    :param chosen: the compressors to use, by the names of their content codings.
    :param out: the stream for progress.
    :param errors: the stream for errors, one line each.
    :returns: the number of siblings for each outcome.
    :raises OSError: the folder, or a folder in it, cannot be read.
    """
    outcomes: Counter[Outcome] = Counter()
    paths = find_files(folder)
    progress = ProgressBar(out, len(paths))
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
    """Return a path as printable text, without undecodable or control characters."""
    text = os.fsencode(path).decode(errors="replace")
    return "".join(
        each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text
    )


def main(arguments: Sequence[str], out: TextIO, errors: TextIO) -> int:
    """
    Run the command.

    :param arguments: the command line without the program's name.
    :param out: the stream for progress and the summary.
    :param errors: the stream for errors.
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
