"""Klein's own tests pass with clusterapp's resource in the place of Klein's."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

#: What is otherwise on purpose: half a page of an element that fails is no 200, and a
#: path that is not UTF-8 is a 404, for which nothing is logged.
OTHERWISE = {
    "klein.test.test_form.TestForms.test_renderLookupError",
    "klein.test.test_resource.KleinResourceTests.test_failedDecodePathInfo",
}

_ROOT = Path(__file__).resolve().parents[4]


def run_suite(whose: str) -> dict[str, Any]:
    """Run klein's tests in a process of their own, since they change klein."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.klein_suite", whose],
        env=os.environ | {"PYTHONPATH": str(_ROOT)},
        stdout=subprocess.PIPE,
        check=True,
        timeout=100,
    )
    outcome: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return outcome


class KleinSuiteTests(SynchronousTestCase):
    """The same tests, once with each resource."""

    def test_same_outcome(self) -> None:
        """What fails with clusterapp's resource fails with Klein's, or on purpose."""
        kleins, ours = run_suite("klein"), run_suite("clusterapp")
        self.assertEqual(set(ours["failed"]) - OTHERWISE, set(kleins["failed"]))
        self.assertLessEqual(OTHERWISE, set(ours["failed"]))
        self.assertEqual(ours["skipped"], kleins["skipped"])
        self.assertEqual(ours["run"], kleins["run"])
        self.assertGreater(ours["run"], 200)
        # Far fewer would mean that the tests went by another way.
        self.assertEqual(kleins["dispatched"], 0)
        self.assertGreater(ours["dispatched"], 80)
