"""The documentation of settings is what the model says."""

import tomllib
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from clusterapp.settings.model import SETTINGS
from clusterapp.settings.reference import reference

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


class ReferenceTests(SynchronousTestCase):
    """``docs/settings.md``."""

    def test_the_page_is_up_to_date(self) -> None:
        self.assertEqual(
            PAGE.read_text(encoding="utf-8"),
            reference(),
            "renew it: python -m clusterapp.settings.reference > docs/settings.md",
        )

    def test_every_name_is_there(self) -> None:
        """Each setting with its flag, its variables and its key."""
        text = reference()
        for setting in SETTINGS:
            section = text.partition(f"\n### {setting.name}\n")[2].partition("\n#")[0]
            self.assertIn(f"- flag: `{setting.synopsis}`\n", section)
            self.assertIn(f"- TOML: `{setting.name} = ", section)
            for alias in setting.variables:
                self.assertIn(f"`{alias.variable}`", section)

    def test_examples_are_toml(self) -> None:
        """What the page shows as TOML is TOML, and means the example."""
        for setting in SETTINGS:
            line = reference().partition(f"- TOML: `{setting.name} = ")[2]
            value = tomllib.loads("value = " + line.partition("`\n")[0])["value"]
            example = setting.about.example
            self.assertEqual(
                value, list(example) if isinstance(example, tuple) else example
            )
