"""
Run klein's own tests, with its own resource or with clusterapp's in its place.

``python -m tests.klein_suite klein|clusterapp`` writes the outcome as JSON, the last
line of its output.
"""

import json
import sys
from typing import Any

import klein
from twisted.trial.reporter import Reporter
from twisted.trial.runner import TestLoader, TrialRunner
from twisted.web import server

from clusterapp.http.klein.klein_resource import KleinRoutes
from tests.unit.http.klein.routable_requests import PlainRoutable


def replace_resource() -> None:
    """
    Replace klein's resource and its tests' requests by clusterapp's.

    Before the tests are imported: their requests are a subclass of twisted.web's.
    """
    for module in ("klein._app", "klein._resource", "klein.resource"):
        vars(sys.modules[module])["KleinResource"] = KleinRoutes
    server.Request = PlainRoutable  # type: ignore[misc]
    server.Site.requestFactory = PlainRoutable


def run_suite() -> dict[str, Any]:
    """Run all tests of klein, and count."""
    suite = TestLoader().loadByName("klein.test", recurse=True)
    result: Any = TrialRunner(Reporter, stream=sys.stderr).run(suite)
    return {
        "run": result.testsRun,
        "failed": sorted(test.id() for test, _ in result.errors + result.failures),
        "skipped": len(result.skips),
        "dispatched": PlainRoutable.dispatched,
    }


if __name__ == "__main__":
    if sys.argv[1] == "clusterapp":
        replace_resource()
    print(json.dumps(run_suite() | {"version": klein.__version__}))
