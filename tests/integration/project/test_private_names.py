"""A release of another project that renames a private name: the cluster serves on."""

import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import pytest
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.private_names import cpython, reactors, web
from clusterapp.private_names.check import PrivateName
from tests.integration.running import APPS, SCRIPTS, RunningCluster

BROKEN_NAMES = APPS.with_name("broken_names")

#: What the ordinary application answers.
ANSWERS = {
    "/": b"index",
    "/hello/a": b"hello a",
    "/hello/b": b"hello b",
    "/page": b"<p>&lt;&amp;&gt;</p>",
    "/static/a.txt": b"a file",
    "/refused": b"refused",
    "/zipped": b"zipped",
    "/process": b"ended with 3",
    "/core": b"core",
    "/fork": b"ended with 4",
}


class Break(NamedTuple):
    """
    How a name is broken, and where that shows.

    :param name: the name.
    :param edits: package, regular expression, replacement; see `broken_names`.
    :param app: the application, of the module ``everyday``.
    :param reactor: the reactor of the master.
    """

    name: PrivateName[Any]
    edits: tuple[tuple[str, str, str], ...]
    app: str = "app"
    reactor: str = "epoll"


def renamed(package: str, *names: str) -> tuple[tuple[str, str, str], ...]:
    """Return the edits that rename these names wherever they are used."""
    return tuple((package, rf"\b{name}\b", f"{name}_elsewhere") for name in names)


#: Each private name, at least once. A new one needs a row.
BREAKS: Final = (
    Break(
        cpython.ACCEPT,
        (
            ("socket", r"self\._accept\(\)", "_socket.socket._accept(self)"),
            ("socket", r"(    __slots__ = .*)", r"\1\n    _accept = None"),
        ),
    ),
    Break(cpython.FORMAT_OF, renamed("logging", "_fmt")),
    Break(
        cpython.EMIT,
        (
            ("logging", r"\bmsg = self.format\(record\)", "text = self.format(record)"),
            ("logging", r"stream.write\(msg \+", "stream.write(text +"),
        ),
    ),
    Break(cpython.RUN_EXIT_FUNCTIONS, ()),
    Break(cpython.READY_CALLS, renamed("asyncio", "_ready"), reactor="asyncio"),
    Break(cpython.HANDLE_RUN, renamed("asyncio", "_run"), reactor="asyncio"),
    Break(
        reactors.EVENT_LOOP,
        renamed("twisted", "_asyncioEventloop"),
        reactor="asyncio",
    ),
    Break(reactors.READ_OR_WRITE, renamed("twisted", "_readOrWrite")),
    Break(reactors.SELECTABLES, renamed("twisted", "_selectables")),
    Break(reactors.THREAD_CALLS, renamed("twisted", "threadCallQueue")),
    Break(reactors.REAP_HANDLERS, renamed("twisted", "reapProcessHandlers")),
    Break(reactors.UNSENT, renamed("twisted", "_tempDataBuffer")),
    Break(reactors.UNSENT, renamed("twisted", "_appSendBuffer")),
    Break(reactors.START_WAITER, renamed("twisted", "_waitForStart")),
    Break(web.NAME_CACHE, renamed("twisted", "_nameEncoder")),
    Break(web.NAME_CACHE, renamed("twisted", "_canonicalHeaderCache")),
    Break(web.ENCODING_RESOURCE, renamed("twisted", "_IEncodingResource")),
    Break(web.WSGI_RESPONSE, renamed("twisted", "_WSGIResponse"), app="wsgi"),
    Break(web.WSGI_RESPONSE, renamed("twisted", "_requestFinished"), app="wsgi"),
    Break(web.APP_OF, (("klein._resource", r"self\._app\b", "self._klein"),), "own"),
    Break(web.ERROR_HANDLERS, renamed("klein", "_error_handlers")),
    Break(web.SEGMENT_COUNT, renamed("klein", "segment_count")),
    Break(web.REMAP_OF, renamed("werkzeug", "_remap")),
    Break(web.CONVERTERS_OF, renamed("werkzeug", "_converters")),
    Break(web.MATCHER_ROOT, renamed("werkzeug", "_matcher")),
    Break(web.MATCHER_ROOT, renamed("werkzeug", "_root")),
    Break(web.CODE_GENERATOR, renamed("jinja2", "CodeGenerator")),
    Break(web.CODE_GENERATOR, renamed("jinja2", "writeline")),
)


@contextmanager
def running_with(broken: Break, workers: int = 1) -> Iterator[RunningCluster]:
    """Run a cluster in whose processes a name is broken."""
    with tempfile.TemporaryDirectory(prefix="clusterapp-") as name:
        command = [
            *(str(SCRIPTS / "twistd"), "-n", "--pidfile=", "--reactor", broken.reactor),
            *("clusterapp", "--app", f"everyday:{broken.app}"),
            *("--workers", str(workers), "--state", f"{name}/state"),
            *("--listen", "tcp:0:interface=127.0.0.1"),
        ]
        env = {
            "PYTHONPATH": os.pathsep.join(map(str, (BROKEN_NAMES, APPS))),
            "BROKEN_NAMES": json.dumps(broken.edits),
        }
        if broken.name is cpython.RUN_EXIT_FUNCTIONS:
            env["BROKEN_EXITS"] = "yes"
        running = RunningCluster(command, workers=workers, cwd=APPS, env=env)
        try:
            yield running.started()
        finally:
            running.close()


class PrivateNameTests(SynchronousTestCase):
    """Each name in turn."""

    def test_every_name_is_broken(self) -> None:
        """A new one is added to the table."""
        names = {
            value
            for module in (cpython, reactors, web)
            for value in vars(module).values()
            if isinstance(value, PrivateName)
        }
        self.assertEqual(names, {row.name for row in BREAKS})

    def check(self, running: RunningCluster, app: str) -> None:
        """Ask for everything, a few times: of both workers, and from caches."""
        answers = ANSWERS if app == "app" else {"/": app.encode()}
        for _ in range(3):
            for path, answer in answers.items():
                self.assertEqual(running.get(path), answer, path)

    def test_nothing_is_broken(self) -> None:
        """Then no warning is logged."""
        for app, reactor in (("app", "asyncio"), ("wsgi", "epoll"), ("own", "epoll")):
            unbroken = Break(web.REMAP_OF, (), app, reactor)
            with running_with(unbroken) as running:
                self.check(running, app)
            self.assertNotIn("private name", running.text())

    @pytest.mark.timeout(500)
    def test_each(self) -> None:
        """Everything is answered, and one warning tells what is lost."""
        for row in BREAKS:
            self.check_row(row)

    def test_in_each_worker(self) -> None:
        """The master logs what each of its processes finds once."""
        row = next(row for row in BREAKS if row.name is web.NAME_CACHE)
        self.check_row(row, workers=3)

    def check_row(self, row: Break, workers: int = 1) -> None:
        """Run a cluster with a broken name."""
        with running_with(row, workers) as running:
            self.check(running, row.app)
        said = re.findall("the private name (.*) is missing", running.text())
        self.assertEqual(said, [row.name.name], running.text())
        self.assertIn(row.name.lost, running.text())
        self.assertNotIn("Traceback", running.text())
