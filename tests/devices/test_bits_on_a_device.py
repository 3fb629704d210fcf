"""A device computes the bits of the compiled backend, or leaves the run to the processor."""

import warnings
from dataclasses import replace
from threading import Event

import numpy as np
import pytest

import napari_diffusion as nd
from helpers.emulated import NAME, emulation, needs_emulation
from napari_diffusion.core.geometry import Domain, Geometry
from napari_diffusion.engine.devices import choice
from napari_diffusion.engine.execution import Execution
from napari_diffusion.engine.in_memory import evolve, run
from napari_diffusion.engine.out_of_core.blocks import run_in_blocks
from napari_diffusion.engine.planner import make_plan
from napari_diffusion.engine.problem import make_problem
from napari_diffusion.engine.recipe_fields import RecipeFields
from napari_diffusion.schemes import BUILTIN as SCHEMES
from napari_diffusion.testing.backends import MAPPED, MODELS, problems_of
from napari_diffusion.testing.cases import CASES

pytestmark = needs_emulation

ONE, DEVICE = Execution(threads=1), Execution(threads=1, device=NAME)
#: Models that have kernels on a device without walls, and with labels; found by the tests to be
#: complete.
PLAIN = {"min-max-curvature"}


def planned(problem):
    """Plan of a run on the device, and the warnings about the choice."""
    choice.say_fallback.cache_clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        plan = make_plan(problem, DEVICE)
    return plan, [str(warning.message) for warning in caught]


def assert_same_bits(problem):
    """The device has the bits of the processor; returns whether it has the kernels."""
    plan, said = planned(problem)
    if plan.device is None:
        (sentence,) = said
        assert sentence.startswith(emulation().name)
        assert sentence.endswith(": the processor does the work.")
        return False
    assert not said
    expected = run(problem, ONE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a failure of the device would be said
        np.testing.assert_array_equal(run(problem, plan=plan), expected)
    return True


@pytest.mark.parametrize("model", [*MODELS, *MAPPED], ids=lambda m: repr(m)[:70])
def test_every_model_has_the_bits_of_the_compiled_backend_or_falls_back(model):
    ran = {(p.recipe.strict, p.may_have_walls): assert_same_bits(p) for p in problems_of(model)}
    has_tensor = model.name in _tensor_models()
    for (strict, has_walls), has_run in ran.items():
        without = model.name in PLAIN or (has_tensor and (strict or has_walls))
        assert has_run != without


def _tensor_models():
    image = np.zeros((4, 4), np.float32)
    kinds = [kind() for kind in nd.models.BUILTIN]
    return {m.name for m in kinds if nd.plan(image, m, time=0.1).operator.has_tensor}


@pytest.mark.parametrize("kind", SCHEMES, ids=lambda kind: kind.name)
@pytest.mark.parametrize(
    "model",
    [nd.Linear(), nd.PeronaMalik(sigma=1.0), nd.TotalVariation(epsilon=0.1), nd.EdgeEnhancing()],
    ids=lambda model: model.name,
)
def test_every_scheme_has_the_bits_of_the_compiled_backend(model, kind):
    case = next(case for case in CASES if case.shape == (9, 15, 14))
    time = 3 * case.max_step(model)
    recipe = RecipeFields(model, time, scheme=kind(), tolerance=1e-2)
    problem = make_problem(case.picture(), recipe, Geometry(case.spacing), Domain())
    try:
        make_plan(problem, ONE)
    except ValueError:  # the scheme is not for this model
        return
    assert assert_same_bits(problem)


CHANNELS = [
    nd.Linear(),
    nd.PeronaMalik(kappa=8.0),
    nd.PeronaMalik(kappa=8.0, sigma=2.0, diffusivity="exponential"),
    nd.TotalVariation(),
    nd.ModifiedCurvature(),
    nd.CoherenceEnhancing(),
    nd.SpeckleReducing(),
    nd.FourthOrder(),
]


@pytest.mark.parametrize("with_labels", [False, True], ids=["open", "labels"])
@pytest.mark.parametrize("model", CHANNELS, ids=lambda m: repr(m)[:60])
def test_channels_that_share_edges_have_the_same_bits(model, with_labels):
    rng = np.random.default_rng(0)
    image = np.abs(rng.normal(100, 30, (7, 9, 70, 3))).astype(np.float32)  # several work groups
    labels = np.indices(image.shape[:3]).sum(0) // 9 % 3 if with_labels else None
    if with_labels and model.name in _tensor_models():
        return
    recipe = RecipeFields(model, 0.7)
    geometry = Geometry((2.0, 1.0, 0.7), channel_axis=3, channel_weights=(1.0, 2.0, 0.5))
    assert assert_same_bits(make_problem(image, recipe, geometry, Domain(labels=labels)))


OPTIONS = {
    "fidelity length": {"fidelity_length": 2.0, "scheme": nd.schemes.Explicit()},
    "photon noise": {"transform": "anscombe", "gain": 2.0},
    "hot voxels": {"impulses": "mask"},
    "invalid values": {"nan": "mask"},
    "guide": {"guide_weight": 0.7},
}


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize(
    "model", [nd.PeronaMalik(sigma=1.0), nd.TotalVariation()], ids=lambda m: m.name
)
def test_options_of_a_run_have_the_same_bits(model, name):
    rng = np.random.default_rng(1)
    image = np.abs(rng.normal(100, 30, (12, 11, 10))).astype(np.float32)
    if name == "invalid values":
        image[3, 4:6, 5] = np.nan
    guide = rng.normal(100, 30, image.shape).astype(np.float32) if name == "guide" else None
    recipe = RecipeFields(model, 1.0, **OPTIONS[name])
    assert assert_same_bits(make_problem(image, recipe, Geometry(), Domain(guide=guide)))


@pytest.mark.parametrize("dtype", ["uint8", "float64"])
def test_small_frames_side_by_side_have_the_same_bits(dtype):
    image = np.random.default_rng(2).integers(0, 255, (9, 12, 13)).astype(dtype)
    recipe = RecipeFields(nd.PeronaMalik(kappa=20.0), 1.0)
    problem = make_problem(image, recipe, Geometry(axes=(1, 2)), Domain())
    assert make_plan(problem, DEVICE).stack > 1
    assert assert_same_bits(problem)


@pytest.fixture
def problem():
    image = np.random.default_rng(3).normal(100, 30, (24, 20, 18)).astype(np.float32)
    return make_problem(image, RecipeFields(nd.PeronaMalik(sigma=1.0), 6.0), Geometry(), Domain())


def test_every_state_of_a_run_has_the_same_bits(problem):
    pairs = list(zip(evolve(problem, DEVICE), evolve(problem, ONE), strict=True))
    assert len(pairs) > 1
    for own, expected in pairs:
        assert (own.time, own.fraction) == (expected.time, expected.fraction)
        np.testing.assert_array_equal(own.image, expected.image)


def test_passes_and_blocks_on_a_device_have_the_same_bits(problem):
    cuts = range(2, make_plan(problem).steps, 5)
    in_blocks = run_in_blocks(problem, cuts, (11, 20, 9), DEVICE)
    np.testing.assert_array_equal(in_blocks, run(problem, ONE))


def test_a_run_on_a_device_can_be_cancelled(problem):
    cancel = Event()

    def stop(share):
        cancel.set()

    with pytest.raises(nd.Cancelled):
        run(problem, DEVICE, stop, cancel)


def test_a_plan_names_the_device(problem):
    assert emulation().name in make_plan(problem, DEVICE).describe()
    assert emulation().name not in make_plan(problem, ONE).describe()
    assert make_plan(problem, replace(DEVICE, device="cpu")).device is None
