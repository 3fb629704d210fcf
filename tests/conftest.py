"""Each process of the tests has settings of napari of its own."""

import gc
import os
import sys
import tempfile
from pathlib import Path

import pytest

# PoCL keeps its programs in a folder of these tests, and pyopencl keeps none.
_programs = tempfile.TemporaryDirectory(prefix="napari-diffusion-pocl-", ignore_cleanup_errors=True)
os.environ["POCL_CACHE_DIR"], os.environ["PYOPENCL_NO_CACHE"] = _programs.name, "1"

_worker, _settings = map(os.environ.get, ("PYTEST_XDIST_WORKER", "NAPARI_CONFIG"))
if _worker and _settings:
    os.environ["NAPARI_CONFIG"] = str(Path(_settings).with_name(f"settings-{_worker}.yaml"))


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Search for garbage in what tests make, and not in the modules: it takes seconds each time.

    The collector stays enabled: dask notes whether it is at its import.
    """
    thresholds = gc.get_threshold()
    gc.set_threshold(0)
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(*thresholds)


def pytest_collection_modifyitems(items):
    """Refuse names of tests with an address: two processes would not share the tests."""
    named = [item.nodeid for item in items if " at 0x" in item.nodeid]
    if named:
        raise pytest.UsageError(f"Give these tests ids without addresses: {', '.join(named)}")


@pytest.fixture(autouse=True)
def _no_plan_is_kept():
    """Forget plans and problems of other tests, some of which change constants of the engine."""
    planner = sys.modules.get("napari_diffusion.engine.planner")
    if planner is not None:
        planner.kept_plan.cache_clear()
    arguments = sys.modules.get("napari_diffusion.engine.inputs.arguments")
    if arguments is not None:
        arguments.kept_problem.cache_clear()
