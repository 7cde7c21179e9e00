"""The documentation of settings is what the model says."""

import json
import tomllib
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from clusterapp.settings.model import OPTIONS
from clusterapp.settings.reference import reference, renewed

PAGE = Path(__file__).parents[3] / "docs" / "settings.md"


class ReferenceTests(SynchronousTestCase):
    """``docs/settings.md``."""

    def test_the_page_is_up_to_date(self) -> None:
        page = PAGE.read_text(encoding="utf-8")
        self.assertIn(reference(), page)
        self.assertEqual(
            page,
            renewed(page),
            "renew it: python -m clusterapp.settings.reference docs/settings.md",
        )

    def test_every_name_is_there(self) -> None:
        """Each setting with its flag, its variables and its key."""
        text = reference()
        for option in OPTIONS:
            section = text.partition(f"\n### {option.name}\n")[2].partition("\n#")[0]
            self.assertIn(f"- flag: `{option.usage}`\n", section)
            self.assertIn(f"- TOML: `{option.name} = ", section)
            for variable in option.variables:
                self.assertIn(f"`{variable}`", section)

    def test_examples_are_toml(self) -> None:
        """What the page shows as TOML is TOML, and means the example."""
        for option in OPTIONS:
            line = reference().partition(f"- TOML: `{option.name} = ")[2]
            value = tomllib.loads("value = " + line.partition("`\n")[0])["value"]
            example = option.example
            self.assertEqual(
                value, list(example) if isinstance(example, tuple) else example
            )

    def test_example_of_a_file(self) -> None:
        """It has settings of the same names and values as their own examples."""
        toml = PAGE.read_text(encoding="utf-8").partition("```toml\n")[2]
        shown = tomllib.loads(toml.partition("```")[0])
        examples = {option.name: option.example for option in OPTIONS}
        self.assertEqual(
            json.dumps(shown), json.dumps({name: examples[name] for name in shown})
        )
