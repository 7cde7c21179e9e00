"""What a child does before it has a reactor."""

import os
import sys

from twisted.trial.unittest import SynchronousTestCase

from clusterapp.channel.bootstrap import Bootstrap
from clusterapp.worker import __main__ as program


class ProgramTests(SynchronousTestCase):
    """What happens before there is a reactor."""

    def take_over(self, python_path: str | None) -> None:
        self.patch(os, "environ", {"PYTHONPATH": "/master"})
        self.patch(sys, "path", ["/child"])
        bootstrap = Bootstrap(
            role="worker",
            slot=0,
            generation=1,
            settings={},
            path=("/a", "/b"),
            python_path=python_path,
        )
        program._take_over(bootstrap)

    def test_same_modules_as_the_master(self) -> None:
        self.take_over("/operator")
        path, environment = list(sys.path), dict(os.environ)
        self.assertEqual(path, ["/a", "/b"])
        self.assertEqual(environment, {"PYTHONPATH": "/operator"})

    def test_environment_as_it_was_set(self) -> None:
        """Programs that the application starts see nothing of ours."""
        self.take_over(None)
        self.assertEqual(dict(os.environ), {})
