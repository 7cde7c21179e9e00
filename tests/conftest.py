"""What every test runs with."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Run each test in an empty folder.

    trial's `mktemp` makes files where the test runs, and clusterapp reads a
    ``clusterapp.toml`` there.
    """
    monkeypatch.chdir(tmp_path)
