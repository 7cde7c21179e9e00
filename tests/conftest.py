"""What every test runs with, and which tests run beside which (pytest-xdist)."""

import compileall
import gc
import os
from pathlib import Path

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

_PACKAGE = Path(__file__).parents[1] / "clusterapp"

# How long an example takes says more of what else the machine does than of the code.
settings.register_profile("tests", parent=settings(), deadline=None)
settings.load_profile("tests")


def pytest_configure(config: pytest.Config) -> None:
    """
    Compile the package once, as pip does for one that is installed.

    Tests start a few thousand processes. Each of them would compile it anew where
    Python is told to write no bytecode (PYTHONDONTWRITEBYTECODE), for a third of the
    time that its start takes.
    """
    if not hasattr(config, "workerinput"):
        compileall.compile_dir(_PACKAGE, quiet=2)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """
    Run the tests in as many processes as there are processors.

    More would be no faster: most tests start processes, which need processors. With
    ``-s`` there is one process, since others cannot print to the terminal.
    """
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None  # xdist reads it
    return 0 if config.option.capture == "no" else len(os.sched_getaffinity(0))


class _Scheduling(LoadScopeScheduling):  # type: ignore[misc] # it has no types
    """
    Give each process one class of tests after the other; a class stays together.

    The tests with damage are one unit: they put real clusters under load, at a rate
    that is fixed. Two of them at the same time would leave both without processors,
    and would take longer than one after the other.

    pytest-xdist has marks for such groups (``--dist loadgroup``), but 3.8 writes them
    to an attribute that items do not have any more since pytest 9.2.
    """

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith("tests/chaos/"):
            return "tests/chaos"
        scope: str = super()._split_scope(nodeid)
        return scope


def pytest_xdist_make_scheduler(
    config: pytest.Config, log: Producer
) -> LoadScopeScheduling:
    """Say which tests run in which process."""
    return _Scheduling(config, log)


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Run each test in an empty folder.

    trial's `mktemp` makes files where the test runs, and clusterapp reads a
    ``clusterapp.toml`` there. The path is shorter than that of ``tmp_path``, which has
    the test's name in it: the path of a Unix socket has at most 107 bytes (unix(7)),
    and clusters put theirs two folders deeper.
    """
    monkeypatch.chdir(tmp_path_factory.mktemp("t"))


@pytest.fixture(autouse=True, scope="module")
def _with_garbage_of_its_own() -> None:
    """
    Set aside what is there before the tests of a module.

    Those that see whether anything is left collect garbage at once; each time they
    would look at all that is loaded, and at all that earlier tests have kept.
    """
    gc.collect()
    gc.freeze()
