"""A folder of static files, asked as the engine asks, on a clock of the test's."""

import os
from pathlib import Path
from typing import NamedTuple

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.http.server.prepared_response import Prepared
from clusterapp.web.static.fingerprints import Fingerprints
from clusterapp.web.static.static_files import StaticFiles, StaticOptions

LETTERS = b"abcdefghijklmnopqrstuvwxyz"

#: Above what is kept in memory.
LARGE = 300 * 1024


class Answer(NamedTuple):
    """A response, with the names of its fields in lower case."""

    status: int
    fields: dict[bytes, bytes]
    body: bytes


def body_of(prepared: Prepared) -> bytes:
    """Read what would be sent to a GET."""
    return b"".join(
        part
        if isinstance(part, bytes)
        else os.pread(part.file.fd, part.length, part.offset)
        for part in prepared.parts
    )


def read(prepared: Prepared) -> Answer:
    """Read a prepared answer as a client would read a GET's."""
    status, *lines = prepared.head.split(b"\r\n")[:-1]
    pairs = [line.split(b": ", 1) for line in lines]
    fields = {name.lower(): value for name, value in pairs}
    assert len(fields) == len(pairs), "a field is there twice"
    return Answer(int(status.split(b" ")[1]), fields, body_of(prepared))


class StaticCase(SynchronousTestCase):
    """One folder below /static/, with a file; what is beside it is secret."""

    options = StaticOptions()

    def setUp(self) -> None:
        self.root = Path(self.mktemp()).absolute()
        self.site = self.root / "site"
        self.site.mkdir(parents=True)
        (self.root / "secret.txt").write_bytes(b"secret")
        self.write("letters.txt", LETTERS)
        self.clock = Clock()
        self.serve(self.options)

    def serve(self, options: StaticOptions, static_url: str = "/static/") -> None:
        """Serve the folder anew."""
        now = self.clock.seconds
        self.fingerprints = Fingerprints(self.site, static_url, now)
        self.files = StaticFiles(self.site, static_url, self.fingerprints, options, now)

    def write(self, name: str, content: bytes = b"x", seconds: int = 1000) -> Path:
        """Write a file, as if so many seconds after the epoch."""
        path = self.site / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (seconds, seconds))
        return path

    def prepared(
        self, target: bytes, *fields: bytes, method: bytes = b"GET"
    ) -> Prepared:
        """Ask for what is at a target, with fields written as lines."""
        pairs = [line.split(b": ", 1) for line in (b"Host: a", *fields)]
        found = self.files.answer(
            method, target, [(pair[0], pair[1]) for pair in pairs]
        )
        assert found is not None, target
        return found

    def get(self, name: bytes, *fields: bytes, method: bytes = b"GET") -> Answer:
        """Ask for a file by its path below /static/."""
        return read(self.prepared(b"/static/" + name, *fields, method=method))

    def pass_a_second(self) -> None:
        """Advance the clock until cached files are revalidated."""
        self.clock.advance(1.0)

    def assert_hidden(self, *names: bytes) -> None:
        """Nothing is found there, nor told about it."""
        for name in names:
            answer = self.get(name)
            self.assertEqual(answer.status, 404, name)
            self.assertNotIn(b"secret", answer.body, name)


def open_files() -> list[str]:
    """Return the paths that this process has open, each as often as it is."""
    links = Path("/proc/self/fd").iterdir()
    return [str(link.readlink()) for link in links if link.is_symlink()]
