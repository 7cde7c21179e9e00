"""What is kept of static files: for how long, and how much."""

import os
from itertools import islice, product

from clusterapp.http.server.prepared_response import FilePart
from clusterapp.web.static.file_cache import MOST_OPEN, MOST_PATHS
from clusterapp.web.static.static_files import StaticOptions
from tests.unit.web.static.static_files import (
    LARGE,
    LETTERS,
    StaticCase,
    body_of,
    open_files,
)


class FreshnessTests(StaticCase):
    """An edit shows within a second, and load costs no look at the disk."""

    def looks(self) -> list[bytes]:
        """Note from now on what the disk is asked for."""
        asked: list[bytes] = []
        for name in ("stat", "open"):
            really = getattr(os, name)

            def noting(path: bytes, *more: int, really: object = really) -> object:
                asked.append(path)
                return really(path, *more)  # type: ignore[operator]

            self.patch(os, name, noting)
        return asked

    def test_disk_is_not_asked_within_a_second(self) -> None:
        self.get(b"letters.txt")
        looks = self.looks()
        self.clock.advance(0.99)
        for field in (b"Accept: */*", b"If-None-Match: *", b"Range: bytes=0-1"):
            self.get(b"letters.txt", field)
        self.get(b"letters.txt?another")
        self.assertEqual(looks, [])

    def test_disk_is_asked_once_a_second(self) -> None:
        self.get(b"letters.txt")
        self.pass_a_second()
        self.get(b"letters.txt")
        looks = self.looks()
        for _ in range(3):
            self.pass_a_second()
            for _ in range(5):
                self.get(b"letters.txt")
        path = bytes(self.site / "letters.txt")
        self.assertEqual(looks.count(path), 3)

    def test_edit(self) -> None:
        for name in ("letters.txt", "large.bin"):
            self.write(name, bytes(LARGE))
            self.assertEqual(self.get(name.encode()).body, bytes(LARGE))
            self.write(name, b"new" * LARGE, seconds=1001)
            self.pass_a_second()
            self.assertEqual(self.get(name.encode()).body, b"new" * LARGE)

    def test_file_that_is_replaced(self) -> None:
        """By one of the same size and time, as some tools do."""
        for _ in range(3):
            self.get(b"letters.txt")
            self.pass_a_second()
        path = self.write("other.txt", LETTERS.upper())
        path.rename(self.site / "letters.txt")
        self.pass_a_second()
        self.assertEqual(self.get(b"letters.txt").body, LETTERS.upper())

    def test_two_edits_within_one_tick_of_the_clock(self) -> None:
        """The second one leaves no trace but its content, and is seen all the same."""
        path = self.site / "letters.txt"
        self.get(b"letters.txt")
        facts = path.stat()
        path.write_bytes(LETTERS.upper())
        really_stat = os.stat

        def same_times(path: bytes) -> os.stat_result:
            values = list(really_stat(path))
            values[1] = facts.st_ino
            return _with_times(values, facts)

        self.patch(os, "stat", same_times)
        self.patch(os, "fstat", same_times)
        self.pass_a_second()
        self.assertEqual(self.get(b"letters.txt").body, LETTERS.upper())

    def test_file_that_goes_and_comes(self) -> None:
        content = (self.site / "letters.txt").read_bytes()
        self.get(b"letters.txt")
        (self.site / "letters.txt").unlink()
        self.pass_a_second()
        self.assertEqual(self.get(b"letters.txt").status, 404)
        self.write("letters.txt", content)
        self.assertEqual(self.get(b"letters.txt").status, 200)

    def test_file_that_becomes_a_folder(self) -> None:
        self.get(b"letters.txt")
        (self.site / "letters.txt").unlink()
        self.write("letters.txt/index.html")
        self.pass_a_second()
        self.assertEqual(self.get(b"letters.txt").status, 302)

    def test_answer_on_its_way_keeps_its_file(self) -> None:
        """What is being sent is what was promised, whatever is there by now."""
        self.write("large.bin", bytes(LARGE))
        prepared = self.prepared(b"/static/large.bin")
        self.write("new.bin", b"new").rename(self.site / "large.bin")
        self.pass_a_second()
        self.assertEqual(self.get(b"large.bin").body, b"new")
        self.assertEqual(body_of(prepared), bytes(LARGE))


def _with_times(values: list[float], facts: os.stat_result) -> os.stat_result:
    names = ("st_atime", "st_mtime", "st_ctime")
    exact = {f"{name}_ns": getattr(facts, f"{name}_ns") for name in names}
    return os.stat_result(tuple(values), exact)


class BoundTests(StaticCase):
    """Whatever clients ask for, the memory has an end."""

    options = StaticOptions(cache_bytes=1024 * 1024)

    def fill(self, count: int, size: int) -> None:
        """Write so many files, and ask for each."""
        for number in range(count):
            self.write(f"{number}.bin", b"x" * size)
            self.assertEqual(self.get(b"%d.bin" % number).status, 200)

    def kept(self, *names: bytes) -> list[bool]:
        """Return which files are known without a look at the disk."""
        return [b"/static/" + name in self.files._cache.paths for name in names]

    def test_bytes(self) -> None:
        """Contents count twice, since the engine keeps what it sends."""
        self.fill(20, 100_000)
        cache = self.files._cache
        self.assertLessEqual(cache.cost, 1024 * 1024)
        self.assertGreater(cache.cost, 1024 * 1024 - 210_000)
        self.assertEqual(self.kept(b"19.bin", b"15.bin"), [True, True])
        self.assertEqual(self.kept(b"0.bin", b"14.bin"), [False, False])

    def test_what_is_asked_for_stays(self) -> None:
        """Even if nothing about it has changed."""
        self.fill(5, 100_000)
        for _ in range(2):
            self.pass_a_second()
            for number in range(5):
                self.get(b"%d.bin" % number)
        self.pass_a_second()
        self.get(b"0.bin")
        self.write("another.bin", b"x" * 100_000)
        self.get(b"another.bin")
        self.assertEqual(self.kept(b"0.bin", b"1.bin"), [True, False])

    def test_large_part_of_the_cache(self) -> None:
        """One file must not push out all others: it is sent from the disk."""
        self.write("part.bin", bytes(200_000))
        parts = self.prepared(b"/static/part.bin").parts
        self.assertIsInstance(parts[0], FilePart)

    def test_many_small_files(self) -> None:
        """Each takes more than its content."""
        self.fill(400, 1)
        self.assertLess(len(self.files._cache._entries), 257)
        self.assertLessEqual(self.files._cache.cost, 1024 * 1024)

    def test_no_cache_at_all(self) -> None:
        """Files are sent all the same."""
        self.serve(StaticOptions(cache_bytes=0))
        self.fill(3, 1000)
        self.assertEqual(len(self.files._cache._entries), 1)
        self.assertEqual(self.get(b"1.bin").body, b"x" * 1000)

    def test_open_files(self) -> None:
        before = len(open_files())
        self.fill(MOST_OPEN + 20, 200_000)
        self.assertEqual(len(open_files()) - before, MOST_OPEN)
        self.assertEqual(self.get(b"0.bin").body, b"x" * 200_000)

    def test_files_that_are_gone_are_closed(self) -> None:
        before = len(open_files())
        self.fill(3, 200_000)
        for number in range(3):
            (self.site / f"{number}.bin").unlink()
        self.pass_a_second()
        for number in range(3):
            self.assertEqual(self.get(b"%d.bin" % number).status, 404)
        self.assertEqual(len(open_files()), before)
        cache = self.files._cache
        self.assertEqual((cache.cost, cache.descriptors, cache.paths), (0, 0, {}))

    def test_queries_and_spellings(self) -> None:
        """There are as many as clients like, for one file; queries do not count."""
        spellings = product(
            *(
                {b"%c" % byte, b"%%%02x" % byte, b"%%%02X" % byte}
                for byte in b"letters.txt"
            )
        )
        for number, spelling in enumerate(islice(spellings, MOST_PATHS + 100)):
            self.get(b"%b?%d" % (b"".join(spelling), number))
        cache = self.files._cache
        self.assertEqual(len(cache.paths), MOST_PATHS)
        self.assertEqual(len(next(iter(cache.paths.values())).paths), MOST_PATHS)
        self.assertEqual(len(cache._entries), 1)

    def test_long_paths(self) -> None:
        name = "x" * 128 + ".txt"
        self.write(name, b"x")
        self.assertEqual(self.get(name.encode()).status, 200)
        self.assertEqual(self.files._cache.paths, {})

    def test_misses(self) -> None:
        """What is not there is not remembered."""
        for number in range(100):
            self.get(b"missing-%d" % number)
            self.get(b"missing.%012d.css" % number)
            self.get(b"letters.%012d.txt" % number)
        cache = self.files._cache
        self.assertEqual(cache.paths, {})
        self.assertLess(len(cache._entries), 4)

    def test_targets_of_what_was_left_out(self) -> None:
        """They lead to nothing that is still held."""
        self.fill(20, 100_000)
        cache = self.files._cache
        self.assertEqual(len(cache.paths), len(cache._entries))
