"""Stages with a stored operator are computed several in a pass over memory, with the same bits."""

import threading
from itertools import pairwise

import numpy as np
import pytest

import napari_diffusion as nd
from helpers.oracles import noise
from napari_diffusion.core.cancellation import Cancelled
from napari_diffusion.engine.slab_pool import SlabPool
from napari_diffusion.operators import stepper

#: The last one has stages that read two planes beyond what they compute.
MODELS = [
    nd.TotalVariation(kappa=1.0),
    nd.PeronaMalik(kappa=1.0, sigma=1.0),
    nd.EdgeEnhancing(kappa=1.0),
    nd.FourthOrder(kappa=1.0),
]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("reach", [1, 2])
@pytest.mark.parametrize("stages", [2, 3, 8])
@pytest.mark.parametrize(
    ("planes", "height", "block"), [(70, 70, 5), (131, 33, 1), (64, 9, 64), (20, 20, 64)]
)
def test_a_stage_reads_what_the_stage_before_it_has_written(
    planes, height, block, stages, reach, threads
):
    """Two fields hold the number of the stage that wrote each plane last."""
    fields, lock = [np.zeros(planes, int), np.full(planes, -1)], threading.Lock()

    def work(stage, lo, hi):
        before, after = fields[stage % 2], fields[1 - stage % 2]
        with lock:
            assert (before[max(lo - reach, 0) : hi + reach] == stage).all()
            assert (after[lo:hi] == stage - 1).all()
            after[lo:hi] = stage + 1

    with SlabPool(threads, None, lambda share: None) as slabs:
        slabs.run_stages(work, planes, height, stages, reach, block)
    assert (fields[stages % 2] == stages).all()


@pytest.mark.parametrize(
    "options", [{}, {"labels": True}, {"fidelity_length": 2.0}], ids=["plain", "labels", "fidelity"]
)
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_a_pass_has_the_bits_of_its_stages_one_by_one(model, options, monkeypatch):
    image = noise((70, 8, 9)).astype("f4")
    if "labels" in options:
        options = {"labels": 1 + (np.indices(image.shape).sum(0) > 40)}
    plan = nd.plan(image, model, time=2.5, **options)
    assert sum(stage.reuse_operator for stage in plan.stages) > 4
    counts = []
    counted = SlabPool.run_stages

    def run_stages(self, work, planes, height, stages, reach, block):
        counts.append(stages)
        counted(self, work, planes, 20, stages, reach, 3)

    monkeypatch.setattr(SlabPool, "run_stages", run_stages)
    together = nd.diffuse(image, model, time=2.5, **options)
    assert max(counts) > 2
    counts.clear()
    monkeypatch.setattr(stepper, "MAX_PASS_STAGES", 1)
    np.testing.assert_array_equal(nd.diffuse(image, model, time=2.5, **options), together)
    assert not counts


def test_a_pass_ends_between_two_blocks_when_it_is_cancelled():
    cancel, done = threading.Event(), []

    def work(stage, lo, hi):
        done.append((stage, lo))
        cancel.set()

    with SlabPool(1, cancel, lambda share: None) as slabs, pytest.raises(Cancelled):
        slabs.run_stages(work, 100, 100, 4, 1, 2)
    assert done == [(0, 0), (1, 0)]


def test_progress_counts_the_stages_of_a_pass():
    shares = []
    nd.diffuse(noise((64, 64, 32)), nd.TotalVariation(kappa=1.0), time=1.0, progress=shares.append)
    assert shares[-1] == 1.0
    assert all(a <= b for a, b in pairwise(shares))
