"""A run cut into passes and blocks has every bit of the run in one piece."""

import contextlib
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_diffusion import schemes
from napari_diffusion.core.geometry import Domain, Geometry
from napari_diffusion.core.grid import Grid
from napari_diffusion.core.regions import open_faces
from napari_diffusion.engine.blocks import blocks_of, carried, grid_of_box
from napari_diffusion.engine.in_memory import run
from napari_diffusion.engine.out_of_core.blocks import run_in_blocks
from napari_diffusion.engine.planner import make_plan
from napari_diffusion.engine.problem import make_problem
from napari_diffusion.engine.recipe import Recipe
from napari_diffusion.models import BUILTIN, Linear, PeronaMalik

SHAPE, SPACING = (9, 8, 19), (2.0, 1.0, 0.8)
BLOCK = (5, 8, 7)
MODELS = [*(kind() for kind in BUILTIN), PeronaMalik(sigma=1.0)]


def image():
    ball = (np.indices(SHAPE).sum(0) % 17 > 8) * 60.0
    noise = np.random.default_rng(7).normal(0, 4, SHAPE)
    return (20 + ball + noise).astype(np.float32)


def with_holes():
    broken = image()
    broken[3, 4, 5] = broken[6:8, 2, 11] = np.nan
    return broken


LABELS = np.indices(SHAPE).sum(0) // 6 % 3
DOMAINS = {
    "plain": (image, Domain(), "raise"),
    "labels": (image, Domain(labels=LABELS), "raise"),
    "holes": (with_holes, Domain(), "mask"),
}


def time_for(model):
    """A diffusion time of about six stable steps: cycles and supersteps of several stages."""
    plan = make_plan(make_problem(image(), Recipe(model, 0.0), Geometry(SPACING)))
    return 6 * plan.max_step


def problem_of_case(model, scheme, strict, domain):
    make_image, regions, nan = DOMAINS[domain]
    recipe = Recipe(model, time_for(model), scheme=scheme, strict=strict, nan=nan)
    return make_problem(make_image(), recipe, Geometry(SPACING), regions)


def accepted():
    """Every listed model with every listed scheme that runs it, in every kind of domain."""
    for case in itertools.product(MODELS, schemes.names(), (False, True), DOMAINS):
        with contextlib.suppress(ValueError):
            make_plan(problem_of_case(*case))
            yield case


def label(value):
    return f"{value.name}-{value.sigma}" if isinstance(value, PeronaMalik) else str(value)[:24]


@pytest.mark.parametrize(("model", "scheme", "strict", "domain"), list(accepted()), ids=label)
def test_passes_and_blocks_equal_the_whole_run(model, scheme, strict, domain):
    problem = problem_of_case(model, scheme, strict, domain)
    whole, count = run(problem), make_plan(problem).steps
    for cuts in (range(1, count), (count // 2,)):  # passes of one stage each, and two passes
        np.testing.assert_array_equal(run_in_blocks(problem, cuts, BLOCK), whole)


def test_every_model_is_cut_with_every_scheme_that_runs_it():
    cases = list(accepted())
    for model, scheme, domain in itertools.product(MODELS, ("auto", "explicit", "fsi"), DOMAINS):
        assert (model, scheme, False, domain) in cases
    for model, domain in itertools.product(MODELS, DOMAINS):
        assert ((model, "auto", True, domain) in cases) == model.keeps_extrema
    assert sum(scheme == "exact" for _, scheme, _, _ in cases) == 4
    for scheme in ("midpoint", "extrapolated"):
        assert {model.name for model, name, _, _ in cases if name == scheme} == {
            "linear", "edge-enhancing", "coherence-enhancing", "hybrid", "vessel-enhancing",
            "membrane-enhancing", "fourth-order",
            "perona-malik", "rician", "speckle-reducing", "total-variation",
        }  # fmt: skip


def test_every_scheme_is_cut_inside_a_cycle_and_each_array_is_carried_somewhere():
    # Otherwise the test above could pass without carrying what is stored, or a superstep's start.
    names = set()
    for model in MODELS:
        for scheme in schemes.names():
            recipe = Recipe(model, time_for(model), scheme=scheme)
            problem = make_problem(image(), recipe, Geometry(SPACING))
            try:
                plan = make_plan(problem)
            except ValueError:
                continue
            for stage in range(1, plan.steps):
                names |= set(carried(plan, stage))
            assert carried(plan, plan.steps) == ("u",)
    assert names == {"u", "previous", "superstep_start", "stored"}


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_channels_frames_and_other_types_in_blocks(dtype):
    stack = np.stack([image(), image()[::-1]]).clip(0, 255)
    colours = np.stack([stack, 0.5 * stack], axis=-1).astype(dtype)
    recipe = Recipe(PeronaMalik(sigma=1.0), 0.4, axes=(3, 1, 2), channel_axis=-1)
    geometry = Geometry((0.8, 2.0, 1.0), (3, 1, 2), -1)
    problem = make_problem(colours, recipe, geometry)
    np.testing.assert_array_equal(run_in_blocks(problem, (1, 2), (5, 3, 7)), run(problem))


@pytest.mark.parametrize("sizes", [(1, 1, 1), (50, 50, 50), (9, 1, 19)])
def test_blocks_of_one_voxel_and_beyond_the_image(sizes):
    recipe = Recipe(PeronaMalik(), 0.2, scheme="explicit")
    problem = make_problem(image()[:5, :4, :6], recipe)
    np.testing.assert_array_equal(run_in_blocks(problem, (1, 99), sizes), run(problem))


@pytest.mark.parametrize(("shape", "time"), [((0, 5), 1.0), ((4, 5), 0.0)])
def test_blocks_of_nothing(shape, time):
    problem = make_problem(np.ones(shape), Recipe(PeronaMalik(), time))
    np.testing.assert_array_equal(run_in_blocks(problem, (1,), (2, 2)), np.ones(shape))


def test_blocks_of_a_masked_array_are_masked():
    hidden = np.zeros(SHAPE, bool)
    hidden[2:4, 3, 5] = True
    problem = make_problem(np.ma.array(image(), mask=hidden), Recipe(PeronaMalik(), 0.5))
    result, whole = run_in_blocks(problem, (1,), BLOCK), run(problem)
    np.testing.assert_array_equal(np.ma.getmaskarray(result), hidden)
    np.testing.assert_array_equal(np.ma.getdata(result), np.ma.getdata(whole))


@pytest.mark.parametrize("sizes", [(3, 0, 3), (3, 3)])
def test_block_shapes_that_do_not_fit_are_refused(sizes):
    problem = make_problem(image(), Recipe(PeronaMalik(), 0.5))
    with pytest.raises(ValueError, match="block_shape must be 3 numbers >= 1"):
        run_in_blocks(problem, (1,), sizes)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    size=st.tuples(*[st.integers(1, 5)] * 3),
    halo=st.tuples(*[st.integers(0, 3)] * 3),
)
def test_blocks_cover_every_voxel_once(shape, size, halo):
    count = np.zeros(shape, int)
    for block in blocks_of(shape, size, halo):
        count[block.place] += 1
        assert all(
            0 <= outer.start <= place.start and place.stop <= outer.stop <= n
            for outer, place, n in zip(block.outer, block.place, shape, strict=True)
        )
        numbers = np.arange(np.prod(shape)).reshape(shape)
        np.testing.assert_array_equal(numbers[block.outer][block.inner], numbers[block.place])
    assert (count == 1).all()


def test_the_grid_of_a_box_is_that_of_its_regions():
    box = (slice(2, 7), slice(0, 8), slice(5, 17))
    grid = Grid(SHAPE, SPACING, open_faces(LABELS))
    np.testing.assert_array_equal(grid_of_box(grid, box).open_faces, open_faces(LABELS[box]))
    assert grid_of_box(Grid(SHAPE, SPACING), box).open_faces is None


@pytest.mark.parametrize("options", [{"fidelity_length": 1e-9}, {"time": 40.0}])
def test_blocks_of_linear_diffusion_that_may_have_walls_and_has_none_are_exact(options):
    """The plan does not know whether there are NaN, with which another solver does the work."""
    recipe = Recipe(Linear(), **({"time": None} | options), nan="mask")
    problem = make_problem(image(), recipe, Geometry(SPACING))
    np.testing.assert_array_equal(run_in_blocks(problem, [], BLOCK), run(problem))
