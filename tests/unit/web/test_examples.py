"""The examples load, and answer as their docstrings say."""

import re
import sys
from pathlib import Path
from typing import Any

from treq.testing import StubTreq
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.web.loading import LoadedApplication, load
from tests.unit.web.sides import side_of
from tests.unit.web.test_loading import HERE

EXAMPLES = Path(__file__).parents[3] / "examples"


class ExampleTests(SynchronousTestCase):
    """Each is loaded by the name in the command that its docstring gives."""

    def setUp(self) -> None:
        self.patch(sys, "path", [str(EXAMPLES), *sys.path])

    def load(self, name: str) -> LoadedApplication:
        command = re.compile(rf"twistd -n clusterapp --app ({name}:\S+) --workers 4")
        found = command.search((EXAMPLES / f"{name}.py").read_text("utf-8"))
        assert found is not None
        return load(found[1], None, HERE)

    def ask(self, resource: Any, method: str, path: str) -> str:
        http: Any = StubTreq(resource)
        made = http.request(method, f"http://a.invalid{path}")
        text: str = self.successResultOf(made.addCallback(http.text_content))
        return text

    def test_every_kind_greets(self) -> None:
        for name, kind in (
            ("klein_app", "application"),
            ("flask_app", "wsgi"),
            ("resource_app", "resource"),
        ):
            loaded = self.load(name)
            self.assertEqual(loaded.kind, kind)
            text = self.ask(loaded.resource, "GET", "/hello/you")
            self.assertRegex(text, r"^Hello, you, from process \d+\n$")
            self.assertEqual(side_of(loaded.routes, b"/hello/you"), "app")

    def test_core_of_the_klein_application_counts(self) -> None:
        loaded = self.load("klein_app")
        self.assertEqual(side_of(loaded.routes, b"/counter"), "core")
        counted = [self.ask(loaded.core_resource, "POST", "/counter") for _ in "123"]
        self.assertEqual(counted, ["1\n", "2\n", "3\n"])
