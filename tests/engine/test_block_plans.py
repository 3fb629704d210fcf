"""Plans of runs in blocks: within the budget, aligned with chunks, few redundant voxels."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_diffusion import schemes
from napari_diffusion.core.errors import NotEnoughMemory
from napari_diffusion.core.geometry import Geometry
from napari_diffusion.engine.execution import Execution
from napari_diffusion.engine.out_of_core.block_memory import FIXED_MEMORY, KEPT_MEMORY
from napari_diffusion.engine.out_of_core.block_plan import BlockPlan, Resources
from napari_diffusion.engine.out_of_core.planning import (
    REDUNDANCIES,
    plan_blocks,
)
from napari_diffusion.engine.planner import make_plan
from napari_diffusion.engine.problem import make_problem
from napari_diffusion.engine.recipe import Recipe
from napari_diffusion.io.volume import no_values
from napari_diffusion.models import CoherenceEnhancing, Linear, PeronaMalik, TotalVariation

MEBI = 1 << 20
MODELS = [PeronaMalik(), PeronaMalik(sigma=1.0), TotalVariation(), CoherenceEnhancing(), Linear()]


def planned(shape, model, time, memory, spacing=1.0, scheme="auto", chunks=None, **options):
    geometry = Geometry(spacing, tuple(range(len(shape)))[-3:])
    problem = make_problem(no_values(shape, "f4"), Recipe(model, time, scheme=scheme), geometry)
    plan = make_plan(problem, Execution(1))
    chunks = chunks or (*(1,) * (len(shape) - 3), 64, 128, 128)
    return plan, plan_blocks(problem, plan, Resources(memory, 2, 2, chunks, **options))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    shape=st.tuples(*[st.integers(60, 900)] * 3),
    model=st.sampled_from(MODELS[:4]),
    time=st.floats(0.1, 1.5),
    memory=st.integers(250, 900),
    chunk=st.sampled_from([(64, 128, 128), (16, 64, 64), (1, 256, 256), (50, 60, 70)]),
)
def test_plans_keep_their_promises(shape, model, time, memory, chunk):
    plan, blocks = planned(shape, model, time, memory * MEBI, chunks=chunk)
    assert blocks.memory <= memory * MEBI
    for n, block, shard, part in zip(
        blocks.space, blocks.block, blocks.shards, blocks.chunks, strict=True
    ):
        assert block % shard == 0 or block == n  # one writer for each shard
        assert shard % part == 0
    ends = [each.last for each in blocks.passes]
    assert [each.first for each in blocks.passes] == [0, *ends[:-1]]
    assert ends[-1] == len(plan.stages)
    for each in blocks.passes:
        reach = plan.reach(each.first, each.last)
        assert all(h >= min(r, n) for h, r, n in zip(each.halo, reach, blocks.space, strict=True))
        # Redundancy is what it says: the blocks with their halo over the image.
        outer = sum(
            math.prod(part.stop - part.start for part in blocks.block_of(0, i).outer)
            for i in range(blocks.blocks_per_frame)
        )
        if each is blocks.passes[0]:
            assert each.redundancy == pytest.approx(outer / math.prod(shape))
    assert BlockPlan.from_plain(blocks.to_plain()) == blocks
    covered = np.zeros(shape, np.uint8)
    for i in range(blocks.blocks_per_frame):
        covered[blocks.block_of(0, i).place] += 1
    assert (covered == 1).all()


@pytest.mark.parametrize("memory", [300, 512, 2048])
@pytest.mark.parametrize("stages", [8, 80])
def test_perona_malik_computes_few_voxels_twice(memory, stages):
    step = 0.1
    _, blocks = planned(
        (512, 1024, 1024),
        PeronaMalik(),
        stages * step,
        memory * MEBI,
        scheme=schemes.Explicit(step=step),
    )
    assert max(each.redundancy for each in blocks.passes) <= REDUNDANCIES[0]
    lengths = [each.last - each.first for each in blocks.passes]
    assert max(lengths) - lengths[-1] < max(2, len(lengths))  # no short pass at the end


def test_a_larger_budget_is_never_slower():
    seconds = [
        planned((512, 1024, 1024), MODELS[1], 2.0, memory * MEBI)[1].seconds
        for memory in (250, 400, 700, 1500)
    ]
    assert seconds == sorted(seconds, reverse=True)


def test_a_large_budget_takes_the_image_in_one_piece():
    _, blocks = planned((64, 128, 128), MODELS[0], 1.0, 4096 * MEBI)
    assert (blocks.blocks, len(blocks.passes), blocks.redundancy) == (1, 1, 1.0)
    assert blocks.disk == 0


def test_frames_are_planned_by_themselves():
    _, blocks = planned((3, 2, 64, 128, 128), MODELS[0], 1.0, 4096 * MEBI)
    assert (blocks.frames, blocks.blocks) == (6, 6)
    assert "on 6 frames" in blocks.describe()


def test_reading_and_disk_are_counted():
    _, blocks = planned((256, 512, 512), MODELS[0], 12.0, 200 * MEBI)
    assert len(blocks.passes) > 1
    carried = 4 * len(blocks.passes[0].carried) * 256 * 512 * 512
    assert blocks.disk >= carried
    assert blocks.read_amplification >= blocks.passes[0].redundancy
    assert blocks.result_bytes == 4 * 256 * 512 * 512


def test_a_budget_in_which_no_block_fits_is_refused_with_what_would():
    with pytest.raises(NotEnoughMemory, match=r"The budget is 50 MiB, and its smallest block .*B"):
        planned((512, 512, 512), CoherenceEnhancing(), 2.0, FIXED_MEMORY + KEPT_MEMORY + 2 * MEBI)


def test_the_whole_image_as_halo_is_refused():
    # The exact solution over a long time has no blocks.
    with pytest.raises(NotEnoughMemory, match="raise the budget, or use a shorter time or another"):
        planned((512, 512, 512), Linear(), 2000.0, 300 * MEBI)
