"""Exported configurations, byte for byte."""

from twisted.trial.unittest import SynchronousTestCase

from clusterapp.control.arguments import PROGRAMS
from tests.unit.control.exports.export_cases import GOLDEN, recorded


class GoldenTests(SynchronousTestCase):
    """What is exported for each case of `export_cases`."""

    maxDiff = None

    def test_as_recorded(self) -> None:
        """``python -m tests.unit.control.exports.export_cases`` records them anew."""
        for program in PROGRAMS:
            golden = (GOLDEN / f"{program}.txt").read_text("utf-8")
            self.assertEqual(recorded(program), golden, program)
