"""The requests that a child serves, as its master reads them when it is gone."""

import mmap
import os
import random
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from clusterapp.channel.request_record import SIZE, ChildRequests, RequestRecord


class RequestRecordTests(SynchronousTestCase):
    """Both ends of the same memory."""

    def setUp(self) -> None:
        self.requests = ChildRequests()
        self.addCleanup(self.requests.close)
        self.memory = mmap.mmap(self.requests.descriptor, SIZE)
        self.addCleanup(self.memory.close)
        self.record = RequestRecord(self.memory)

    def test_begin_and_end(self) -> None:
        """What has begun and not ended is told, the latest first."""
        self.assertEqual(self.requests.under_way(), [])
        first = self.record.begin(b"GET", b"/first")
        second = self.record.begin(b"POST", b"/second")
        self.assertEqual(self.requests.under_way(), ["POST /second", "GET /first"])
        self.record.end(first)
        self.assertEqual(self.requests.under_way(), ["POST /second"])
        self.record.end(second)
        self.assertEqual(self.requests.under_way(), [])

    def test_many(self) -> None:
        """The latest 32 are told; the end of an older one is not that of another."""
        numbers = [self.record.begin(b"GET", b"/%d" % n) for n in range(100)]
        told = [f"GET /{n}" for n in reversed(range(68, 100))]
        self.assertEqual(self.requests.under_way(), told)
        for number in numbers[:68]:
            self.record.end(number)
        self.assertEqual(self.requests.under_way(), told)

    def test_long_and_unprintable(self) -> None:
        """Paths are cut and escaped: clients have written them."""
        self.record.begin(b"GET", b"/" + b"x" * 60_000)
        self.record.begin(b"GET", b"/\x1b[31m\xff\n")
        escaped, cut = self.requests.under_way()
        self.assertEqual(escaped, r"GET /\x1b[31mÿ\n")
        self.assertEqual(len(cut), 247)

    def test_what_is_not_well_formed(self) -> None:
        """Whatever a broken child leaves there, it is read, and is bounded."""
        self.memory[:] = random.Random(12).randbytes(SIZE)
        told = self.requests.under_way()
        self.assertEqual(len(told), 32)
        self.assertTrue("".join(told).isprintable())

    def test_size_cannot_be_changed(self) -> None:
        """A child that tries does not have its master end with SIGBUS."""
        self.record.begin(b"GET", b"/first")
        for size in (0, 2 * SIZE):
            with self.assertRaises(PermissionError):
                os.ftruncate(self.requests.descriptor, size)
        self.assertEqual(self.requests.under_way(), ["GET /first"])

    def test_no_memory(self) -> None:
        """No descriptor is left behind where the memory cannot be mapped."""
        before = len(list(Path("/proc/self/fd").iterdir()))

        def refuse(*_: object) -> None:
            raise OSError("no memory")

        self.patch(mmap, "mmap", refuse)
        with self.assertRaises(OSError):
            ChildRequests()
        self.assertEqual(len(list(Path("/proc/self/fd").iterdir())), before)
