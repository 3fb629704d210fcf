"""Peak memory of runs in blocks: predicted before, and flat in the size of the image."""

import json
import subprocess
import sys

import pytest

from helpers.stores import write_zarr
from napari_diffusion.core.resources import bytes_of
from napari_diffusion.engine.out_of_core.block_memory import FIXED_MEMORY

if sys.platform != "linux":
    pytest.skip("the memory of a process is read from /proc", allow_module_level=True)

MEASURE = """
import json, sys, threading
import numpy as np
import psutil
import napari_diffusion as nd
from napari_diffusion.workflows.store.heaps import use_one_heap

if sys.argv[4] == "command":  # as the command line does
    use_one_heap()
folder, planes, budget = sys.argv[1], int(sys.argv[2]), sys.argv[3]
model = nd.PeronaMalik(kappa=20.0)
recipe = nd.Recipe(model, 0.5, spacing=(1.0, 1.0, 1.0))
small = np.random.default_rng(0).normal(100, 10, (9, 9, 9)).astype("f4")
nd.diffuse(small, recipe)
source = f"{folder}/{planes}.zarr"
plan = nd.plan_store(source, f"{folder}/{planes}-{sys.argv[4]}.zarr", recipe, memory=budget)
process, ended, highest = psutil.Process(), threading.Event(), [0]
before = process.memory_info().rss - process.memory_info().shared

def watch():
    while not ended.wait(0.001):
        state = process.memory_info()
        highest[0] = max(highest[0], state.rss - state.shared)

watcher = threading.Thread(target=watch, daemon=True)
watcher.start()
nd.diffuse_store(source, f"{folder}/{planes}-{sys.argv[4]}.zarr", recipe, memory=budget)
ended.set()
watcher.join()
print(json.dumps([highest[0] - before, plan.memory, plan.blocks]))
"""


def peak(folder, planes, budget, kind="command"):
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(folder), str(planes), budget, kind],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_peak_is_below_the_prediction_and_does_not_grow_with_the_image(tmp_path, noise_planes):
    budget = "70MiB"
    for planes in (64, 256):  # the budget is the bound for any size
        write_zarr(tmp_path / f"{planes}.zarr", noise_planes(planes), (32, 64, 64))
        measured, predicted, blocks = peak(tmp_path, planes, budget)
        assert blocks > 1
        assert measured <= predicted <= bytes_of(budget)
        assert predicted <= 1.3 * measured + FIXED_MEMORY  # of a run that is as small as this one
    # Threads with heaps of their own keep what they have freed.
    measured, predicted, _ = peak(tmp_path, 64, "110MiB", "library")
    assert measured <= predicted <= bytes_of("110MiB")


@pytest.fixture
def noise_planes():
    import numpy as np

    def make(planes):
        rng = np.random.default_rng(0)
        return rng.normal(100, 10, (planes, 256, 256)).astype("f4")

    return make


@pytest.mark.parametrize(
    ("text", "size"),
    [("500MB", 500_000_000), ("2 GiB", 2 << 30), ("1.5kib", 1536), (4096, 4096), ("7", 7)],
)
def test_sizes(text, size):
    assert bytes_of(text) == size


@pytest.mark.parametrize("text", ["", "much", "-1GB", "1 XB", 0, True])
def test_texts_that_are_no_sizes_are_refused(text):
    with pytest.raises(ValueError, match="is a size such as 2GiB or 500MB"):
        bytes_of(text)
