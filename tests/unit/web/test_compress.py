"""The command that makes compressed siblings."""

import gzip
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import brotli
import zstandard
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.web.compress import compressors, main

TEXT = b"".join(b"line %d\n" % number for number in range(200))


class Terminal(io.StringIO):
    """A stream that somebody looks at."""

    def isatty(self) -> bool:
        return True


class CompressTests(SynchronousTestCase):
    """A folder with files that are worth it and others."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.out, self.errors = io.StringIO(), io.StringIO()

    def write(self, name: str, content: bytes = TEXT, seconds: int = 1000) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (seconds, seconds))
        return path

    def run_it(self) -> int:
        return main([str(self.folder)], self.out, self.errors)

    def names(self) -> set[str]:
        return {
            str(path.relative_to(self.folder))
            for path in self.folder.rglob("*")
            if not path.is_dir()
        }

    def test_siblings(self) -> None:
        self.write("css/app.css")
        self.assertEqual(self.run_it(), 0)
        ends = ("", ".br", ".gz", ".zst")
        self.assertEqual(self.names(), {f"css/app.css{end}" for end in ends})
        made = [(self.folder / f"css/app.css{end}").read_bytes() for end in ends[1:]]
        self.assertEqual(brotli.decompress(made[0]), TEXT)
        self.assertEqual(gzip.decompress(made[1]), TEXT)
        self.assertEqual(zstandard.ZstdDecompressor().decompress(made[2]), TEXT)
        self.assertIn("compressed siblings: 3 made\n", self.out.getvalue())
        self.assertEqual(self.errors.getvalue(), "")

    def test_time_and_mode_are_those_of_the_file(self) -> None:
        path = self.write("app.css")
        path.chmod(0o640)
        self.run_it()
        facts = (self.folder / "app.css.gz").stat()
        self.assertEqual(facts.st_mtime_ns, path.stat().st_mtime_ns)
        self.assertEqual(facts.st_mode & 0o7777, 0o640)

    def test_what_is_left_out(self) -> None:
        for name in (".hidden.css", ".git/a.css", "a.png", "b.woff2", "c.css.gz", "d"):
            self.write(name)
        self.write("tiny.css", b"a{}")
        (self.folder / "link.css").symlink_to(self.folder / ".hidden.css")
        (self.folder / "linked").symlink_to(self.folder / ".git")
        before = self.names()
        self.assertEqual(self.run_it(), 0)
        self.assertEqual(self.names(), before)
        self.assertIn("none to make", self.out.getvalue())

    def test_types_that_are_worth_it(self) -> None:
        names = [
            "a.HTML",
            "b.js",
            "c.svg",
            "d.json",
            "e.wasm",
            "f.xml",
            "g.ttf",
            "h.map",
        ]
        for name in names:
            self.write(name)
        self.run_it()
        self.assertLessEqual({f"{name}.gz" for name in names}, self.names())

    def test_content_that_does_not_shrink(self) -> None:
        self.write("noise.txt", os.urandom(5000))
        self.assertEqual(self.run_it(), 0)
        self.assertEqual(self.names(), {"noise.txt"})
        self.assertIn("3 not smaller than their files", self.out.getvalue())

    def test_second_time(self) -> None:
        """Nothing is made again, until the file is newer."""
        self.write("app.css")
        self.run_it()
        facts = (self.folder / "app.css.gz").stat()
        self.run_it()
        self.assertIn("3 already there", self.out.getvalue())
        self.assertEqual((self.folder / "app.css.gz").stat(), facts)
        self.write("app.css", TEXT.upper(), seconds=1001)
        self.run_it()
        again = (self.folder / "app.css.gz").read_bytes()
        self.assertEqual(gzip.decompress(again), TEXT.upper())

    def test_same_content_gives_the_same_bytes(self) -> None:
        """So do two builds of one version."""
        self.write("one.css", seconds=1000)
        self.write("two.css", seconds=2000)
        self.run_it()
        for end in (".gz", ".br", ".zst"):
            one, two = (self.folder / f"{name}.css{end}" for name in ("one", "two"))
            self.assertEqual(one.read_bytes(), two.read_bytes())
        # RFC 1952, section 2.3: a time, which gzip takes from the clock by itself.
        time = (self.folder / "one.css.gz").read_bytes()[4:8]
        self.assertEqual(time, bytes(4))

    def test_failure_leaves_nothing_behind(self) -> None:
        """Not even for a moment is there a part of a sibling under its name."""
        self.write("app.css")
        seen: list[set[str]] = []

        def full(*_: Any, **__: Any) -> None:
            seen.append(self.names())
            raise OSError(28, "No space left on device")

        self.patch(os, "utime", full)
        self.assertEqual(self.run_it(), 1)
        self.assertEqual(self.names(), {"app.css"})
        self.assertEqual(len(seen), 3)
        for names in seen:
            (other,) = names - {"app.css"}
            self.assertTrue(other.startswith("."), other)

    def test_failure_of_one_does_not_stop_the_rest(self) -> None:
        self.write("a.css")
        self.write("b.css")
        (self.folder / "a.css.gz" / "x").mkdir(parents=True)
        os.utime(self.folder / "a.css.gz", (1, 1))
        self.assertEqual(self.run_it(), 1)
        self.assertIn(f"cannot compress {self.folder}/a.css: ", self.errors.getvalue())
        self.assertIn("1 failed", self.out.getvalue())
        self.assertLessEqual({"a.css.br", "b.css.gz", "b.css.br"}, self.names())

    def test_no_folder(self) -> None:
        self.folder = self.folder / "none"
        self.assertEqual(self.run_it(), 1)
        self.assertEqual(
            self.errors.getvalue(),
            f"cannot read {self.folder}: No such file or directory\n",
        )

    def test_a_file_is_no_folder(self) -> None:
        self.folder = self.write("app.css")
        self.assertEqual(self.run_it(), 1)
        self.assertIn("Not a directory", self.errors.getvalue())

    def test_lines_where_nobody_looks(self) -> None:
        """One for each file, and nothing that steers a terminal."""
        self.write("a.css")
        self.write("b\x1b[2J.css")
        self.run_it()
        lines = self.out.getvalue().splitlines()
        self.assertEqual(lines[:2], ["a.css", "b\N{REPLACEMENT CHARACTER}[2J.css"])
        self.assertNotIn("\x1b", self.out.getvalue())

    def test_bar_on_a_terminal(self) -> None:
        self.out = Terminal()
        self.patch(os, "get_terminal_size", lambda *_: os.terminal_size((40, 24)))
        self.patch(os, "environ", {})
        for number in range(4):
            self.write(f"{number}-{'x' * 50}.css")
        self.run_it()
        shown = self.out.getvalue().split("\r\x1b[K")
        self.assertEqual(len(shown), 6)
        self.assertTrue(shown[3].startswith("[############------------] 3/4 2-x"))
        self.assertTrue(all(len(each) < 40 for each in shown[:-1]))
        self.assertEqual(shown[-1], "compressed siblings: 12 made\n")

    def test_only_what_is_installed(self) -> None:
        """What is missing is said, and how to get it."""
        self.patch(sys, "modules", {**sys.modules, "brotli": None, "zstandard": None})
        self.assertEqual(list(compressors()), [b"gzip"])
        self.write("app.css")
        self.assertEqual(self.run_it(), 0)
        self.assertEqual(self.names(), {"app.css", "app.css.gz"})
        self.assertIn("br, zstd (pip install", self.out.getvalue())

    def test_command(self) -> None:
        self.write("app.css")
        done = subprocess.run(
            [sys.executable, "-m", "clusterapp.web.compress", str(self.folder)],
            capture_output=True,
            check=True,
            text=True,
        )
        self.assertEqual(done.stderr, "")
        self.assertIn("app.css\n", done.stdout)
        self.assertIn("app.css.gz", self.names())

    def test_usage(self) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "clusterapp.web.compress"],
            capture_output=True,
            check=False,
            text=True,
        )
        self.assertEqual(done.returncode, 2)
        self.assertIn("FOLDER", done.stderr)
