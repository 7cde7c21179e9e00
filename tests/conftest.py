"""What every test runs with."""

import gc
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says more of the machine than of what is tested; what hangs
# is ended by pytest-timeout.
settings.register_profile("clusterapp", deadline=None)
settings.load_profile("clusterapp")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Run each test in an empty folder.

    trial's `mktemp` makes files where the test runs, and clusterapp reads a
    ``clusterapp.toml`` there.
    """
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True, scope="module")
def _with_garbage_of_its_own() -> None:
    """
    Set aside what is there before the tests of a module.

    Those that see whether anything is left collect garbage at once; each time they
    would look at all that is loaded, and at all that earlier tests have kept.
    """
    gc.collect()
    gc.freeze()
