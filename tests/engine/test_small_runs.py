"""Small images: equal settings are planned once, and small frames are computed side by side."""

import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import pytest

import napari_diffusion as nd
from napari_diffusion.backends.numba.backend import NumbaBackend
from napari_diffusion.core.errors import NotFinite
from napari_diffusion.core.parameters import param
from napari_diffusion.engine import planner
from napari_diffusion.engine.inputs import arguments
from napari_diffusion.models.base import Model
from napari_diffusion.operators.divergence import ConstantDiffusivity
from napari_diffusion.schemes import Explicit
from napari_diffusion.schemes.base import Scheme

PM = nd.PeronaMalik(kappa=9.0)
STACKED = [
    nd.Linear(),
    PM,
    nd.PeronaMalik(kappa=9.0, sigma=0.8),
    nd.PeronaMalik(kappa=9.0, sigma=0.8, diffusivity=lambda x: 1 / (1 + x**4)),
    nd.TotalVariation(kappa=6.0, epsilon=0.3),
    nd.MeanCurvature(),
    nd.ModifiedCurvature(kappa=12.0),
    nd.SpeckleReducing(q0=0.2),
    nd.Rician(sigma_noise=8.0),
]


def picture(*shape):
    steps = 60 + 40 * (np.indices(shape).sum(0) % 17 > 8)
    return np.abs(steps + np.random.default_rng(3).normal(0, 8, shape)).astype("f4")


@dataclass(frozen=True, kw_only=True)
class AnyValue(Model):
    """Linear diffusion with a parameter that takes any value, as a model of others may."""

    name, title, summary = "any-value", "Any value", "Takes anything."
    value: object = param(None, "Anything.", convert=lambda value: value)

    def operator(self, f):
        operator = ConstantDiffusivity()
        object.__setattr__(operator, "value", self.value)
        return operator


class Halves(Scheme):
    """Explicit steps whose number can be changed, as no scheme should allow."""

    name, order, monotone = "halves", 1, True

    def __init__(self):
        self.count = 8

    def stages(self, time, max_step, tolerance):
        return Explicit(step=time / self.count).stages(time, max_step, tolerance)


@pytest.fixture
def planned(monkeypatch):
    """The problems that have been planned."""
    problems, make = [], planner._make_plan

    def counted(problem, *arguments):
        problems.append(problem)
        return make(problem, *arguments)

    monkeypatch.setattr(planner, "_make_plan", counted)
    return problems


# --- plans that are kept ----------------------------------------------------------------------


def test_equal_settings_are_planned_once(planned):
    for seed in range(3):
        image = np.random.default_rng(seed).normal(100, 9, (8, 8))
        nd.diffuse(image, nd.PeronaMalik(kappa=9.0), time=1.0, spacing=(1.0, 2.0))
    assert len(planned) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"time": 1.5},
        {"model": nd.PeronaMalik(kappa=9.5)},
        {"model": nd.PeronaMalik(kappa=9.0, sigma=0.5)},
        {"model": nd.Linear()},
        {"image": picture(8, 9)},
        {"image": picture(8, 8).astype("f8")},
        {"image": picture(8, 8).astype("u1")},
        {"image": picture(8, 8).T},
        {"image": [[1.0, 2.0], [2.0, 3.0]]},
        {"spacing": 2.0},
        {"spacing": (1.0, 2.0)},
        {"axes": (1,)},
        {"channel_axis": 0},
        {"mask": np.arange(64).reshape(8, 8) > 20},
        {"nan": "mask"},
        {"impulses": "mask"},
        {"scheme": "explicit"},
        {"scheme": Explicit(step=0.1)},
        {"tolerance": 1e-2},
        {"strict": True},
        {"preserve_dtype": True},
        {"threads": 3},
        {"backend": "reference"},
    ],
    ids=lambda change: "-".join(change),
)
def test_a_changed_setting_is_planned_again(planned, change):
    """The plan after a change is that of a first call."""
    settings = {"image": picture(8, 8), "model": PM, "time": 1.0, "threads": 2}
    nd.plan(**settings)
    changed = nd.plan(**(settings | change))
    assert len(planned) == 2
    planner.kept_plan.cache_clear()
    first = nd.plan(**(settings | change))
    names = ("scheme", "stages", "memory", "max_step", "threads", "backend", "halo", "limits")
    assert [getattr(changed, n) for n in names] == [getattr(first, n) for n in names]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (1, True),
        (1, 1.0),
        (0, False),
        (0.0, -0.0),
        ((1.0,), (True,)),
        (np.float64(1), 1.0),
        (np.float32(0.5), np.float64(0.5)),
        ("1", 1),
        (b"1", "1"),
    ],
    ids=repr,
)
def test_values_that_only_compare_equal_are_different_settings(planned, first, second):
    image = picture(8, 8)
    for value in (first, second, first, second):
        plan = nd.plan(image, AnyValue(value=value), time=1.0)
        assert repr(plan.operator.value) == repr(value)
    assert len(planned) == 2


def test_nan_is_a_setting_like_any_other(planned):
    """It is not equal to itself: a dictionary with such keys would grow with every call."""
    for _ in range(3):
        nd.diffuse(picture(8, 8), AnyValue(value=float("nan")), time=1.0)
    assert len(planned) == 1


@pytest.mark.parametrize(
    "value",
    [[1.0], {"a": 1}, np.ones(3), lambda: 1, object(), (1.0, [2.0])],
    ids=["list", "dict", "array", "function", "object", "nested list"],
)
def test_settings_beyond_numbers_and_texts_are_planned_each_time(planned, value):
    for _ in range(2):
        nd.diffuse(picture(8, 8), AnyValue(value=value), time=1.0)
    assert len(planned) == 2


def test_a_scheme_that_is_changed_is_planned_again():
    scheme, image = Halves(), picture(8, 8)
    before = nd.plan(image, PM, time=1.0, scheme=scheme).steps
    scheme.count = 16
    after = nd.plan(image, PM, time=1.0, scheme=scheme).steps
    assert (before, after) == (8, 16)


@pytest.mark.parametrize("scheme", ["auto", Explicit(step=0.2)], ids=str)
def test_no_array_is_kept_alive(scheme):
    image, mask = picture(8, 8), np.arange(64).reshape(8, 8) > 9
    result = nd.diffuse(image, PM, time=1.0, mask=mask, scheme=scheme)
    assert planner.kept_plan.cache_info().currsize == 1
    assert arguments.kept_problem.cache_info().currsize == (scheme == "auto")
    arrays = [weakref.ref(array) for array in (image, mask, result)]
    del image, mask, result
    gc.collect()
    assert [array() for array in arrays] == [None] * 3


def test_few_plans_and_no_long_ones_are_kept(planned):
    image = picture(8, 8)
    for k in range(planner.KEPT_PLANS + 10):
        nd.plan(image, PM, time=1.0 + k)
    assert planner.kept_plan.cache_info().currsize == planner.KEPT_PLANS
    planned.clear()
    for _ in range(2):
        long = nd.plan(image, PM, time=1.0, scheme=Explicit(step=0.5 / planner.MAX_KEPT_STAGES))
    assert len(long.stages) > planner.MAX_KEPT_STAGES
    assert len(planned) == 2


@pytest.mark.parametrize(
    "bad",
    [
        {"time": -1.0},
        {"time": True},
        {"time": 1e12},
        {"axes": (0, True)},
        {"axes": (0, 2)},
        {"spacing": -1.0},
        {"spacing": (1.0, 2.0, 3.0)},
        {"channel_axis": 7},
        {"mask": np.ones((3, 3), bool)},
        {"nan": "no"},
        {"scheme": "no"},
        {"scheme": Explicit(step=9.0)},
        {"strict": 1},
        {"threads": 0},
        {"threads": True},
        {"backend": "no"},
        {"progress": 3},
        {"cancel": 3},
        {"image": np.full((8, 8), np.nan)},
        {"image": np.ones((8, 8), complex)},
    ],
    ids=lambda bad: "-".join(bad),
)
def test_an_error_comes_each_time(bad):
    """Also between calls with settings that are equal to Python, such as 1 and True."""
    good = {"image": picture(8, 8).astype("f8"), "model": PM, "time": 1.0, "axes": (0, 1)}
    good |= {"threads": 1, "strict": False}
    texts = []
    for _ in range(2):
        nd.diffuse(**good)
        with pytest.raises((TypeError, ValueError)) as error:
            nd.diffuse(**(good | bad))
        texts.append(str(error.value))
    assert texts[0] == texts[1] != ""


def test_threads_share_plans():
    """Eight threads with equal and with different settings; each result is that of one thread."""
    image = picture(8, 8)
    models = [nd.PeronaMalik(kappa=1.0 + k % 5, sigma=k % 2) for k in range(10)]
    expected = [nd.diffuse(image, model, time=0.5) for model in models]
    start = threading.Barrier(8)

    def run(number):
        start.wait()
        order = [*range(number, 10), *range(number)] * 20
        return [np.array_equal(nd.diffuse(image, models[k], time=0.5), expected[k]) for k in order]

    planner.kept_plan.cache_clear()
    with ThreadPoolExecutor(8) as pool:
        assert all(all(equal) for equal in pool.map(run, range(8)))


# --- frames side by side ----------------------------------------------------------------------


def one_by_one(image, model, **options):
    """Run every frame along the first axis alone."""
    return np.stack([nd.diffuse(frame, model, time=1.1, **options) for frame in image])


@pytest.mark.parametrize("axes", [(1, 2), (2,)], ids=str)
@pytest.mark.parametrize("model", STACKED, ids=lambda model: f"{model.name}")
def test_a_frame_is_the_same_among_others(model, axes):
    image = picture(9, 13, 11)
    assert nd.plan(image, model, time=1.1, axes=axes).stack > 1
    together = nd.diffuse(image, model, time=1.1, axes=axes)
    alone = one_by_one(image, model, axes=[axis - 1 for axis in axes])
    assert together.tobytes() == alone.tobytes()


@pytest.mark.parametrize(
    "options",
    [
        {"channel_axis": -1},
        {"channel_axis": -1, "channel_weights": (1, 2, None)},
        {"preserve_dtype": True},
        {"backend": "reference"},
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", ["f4", "f8", ">f4", "u1", "i4", "?"])
def test_a_frame_of_any_kind_is_the_same_among_others(dtype, options):
    image = (picture(5, 13, 11, 3) / (100 if dtype == "?" else 1)).astype(dtype)
    image = image if "channel_axis" in options else image[..., 0].copy()
    together = nd.diffuse(image, nd.Rician(sigma_noise=8.0), time=1.1, axes=(1, 2), **options)
    alone = one_by_one(image, nd.Rician(sigma_noise=8.0), **options)
    assert together.dtype == alone.dtype
    assert together.tobytes() == alone.tobytes()


def test_a_kernel_call_computes_all_frames_of_a_stack(monkeypatch):
    image, calls, step = picture(40, 16, 16), [], NumbaBackend.step
    plan = nd.plan(image, PM, time=1.0, axes=(1, 2))

    def counted(self, u, *arguments):
        calls.append(u.size)
        step(self, u, *arguments)

    monkeypatch.setattr(NumbaBackend, "step", counted)
    nd.diffuse(image, PM, time=1.0, axes=(1, 2))
    assert calls == [image.size] * plan.steps


def test_frames_in_several_stacks(monkeypatch):
    """Two full stacks and a smaller one; the last frame axis is not the first axis of the image."""
    monkeypatch.setattr(planner, "STACK_VOXELS", 13 * 11 * 4)
    image = picture(13, 10, 11)
    assert nd.plan(image, STACKED[2], time=1.1, axes=(0, 2)).stack == 4
    together = nd.diffuse(image, STACKED[2], time=1.1, axes=(0, 2))
    alone = one_by_one(image.transpose(1, 0, 2), STACKED[2])
    np.testing.assert_array_equal(together, alone.transpose(1, 0, 2))


@pytest.mark.parametrize("model", [PM, nd.MeanCurvature(), nd.Rician(sigma_noise=8.0)])
def test_unusual_frames_are_run_alone(model, monkeypatch):
    monkeypatch.setattr(planner, "STACK_VOXELS", 13 * 11 * 4)
    image = picture(10, 13, 11)
    image[5, 3, 4] = np.inf
    with pytest.raises(NotFinite, match=r"\[5, 3, 4\]"):
        nd.diffuse(image, model, time=1.1, axes=(1, 2))
    image[5, 3, 4] = 1e37
    with pytest.raises(ValueError, match="values beyond"):
        nd.diffuse(image, model, time=1.1, axes=(1, 2))


def test_a_frame_with_small_differences_is_refused_among_others():
    """Squares of its gradients underflow, which only the frame alone can show."""
    image = picture(6, 13, 11)
    image[4] *= np.float32(1e-25)
    with pytest.raises(ValueError, match="underflow"):
        nd.diffuse(image, nd.MeanCurvature(), time=1.1, axes=(1, 2))


def test_progress_and_cancel_of_stacks(monkeypatch):
    monkeypatch.setattr(planner, "STACK_VOXELS", 13 * 11 * 4)
    image, shares, cancel = picture(10, 13, 11), [], threading.Event()
    nd.diffuse(image, PM, time=1.1, axes=(1, 2), progress=shares.append)
    assert shares == sorted(shares)
    assert (shares[-1], len(set(shares)) > 10) == (1.0, True)

    def stop(share):
        shares.append(share)
        cancel.set()

    shares.clear()
    with pytest.raises(nd.Cancelled):
        nd.diffuse(image, PM, time=1.1, axes=(1, 2), progress=stop, cancel=cancel)
    assert len(shares) == 1


def test_states_are_those_of_single_frames():
    """A run in steps yields the frames one after the other, and ends with the same image."""
    image = picture(4, 13, 11)
    plan = nd.plan(image, PM, time=1.1, axes=(1, 2))
    states = list(nd.evolve(image, PM, time=1.1, axes=(1, 2)))
    assert [state.frame for state in states] == [k for k in range(4) for _ in range(plan.steps)]
    np.testing.assert_array_equal(states[-1].image, nd.diffuse(image, PM, time=1.1, axes=(1, 2)))


def test_the_step_of_a_stack_is_that_of_a_frame():
    """No flux passes from frame to frame, so their number changes neither step nor stages."""
    one, many = (nd.plan(picture(n, 13, 11), PM, time=1.1, axes=(1, 2)) for n in (1, 9))
    assert (one.stages, one.max_step) == (many.stages, many.max_step)
    grid = planner.stack_grid(_problem(9), 9)
    assert replace(grid, shape=(13, 1, 11)).max_step(1.0) == grid.max_step(1.0) == one.max_step


def _problem(frames):
    from napari_diffusion.core.geometry import Geometry
    from napari_diffusion.engine.problem import make_problem
    from napari_diffusion.engine.recipe_fields import RecipeFields

    return make_problem(picture(frames, 13, 11), RecipeFields(PM, 1.1), Geometry(axes=(1, 2)))
