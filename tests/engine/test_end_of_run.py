"""The end of a run is exact: the last state has the fraction 1 and the time of the recipe."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest

import napari_diffusion as nd
from napari_diffusion import schemes
from napari_diffusion.engine.in_memory import evolve, run_to_end
from napari_diffusion.engine.problem import make_problem
from napari_diffusion.engine.recipe import Recipe
from napari_diffusion.schemes import Explicit, Scheme, Stage

RUNS = [
    (nd.PeronaMalik(), schemes.Explicit()),
    (nd.PeronaMalik(), schemes.FSI()),
    (nd.PeronaMalik(), schemes.RKL2(supersteps=5)),
    (nd.Linear(), schemes.Midpoint(cycles=7)),
    (nd.Linear(), schemes.Exact()),
]
every_scheme = pytest.mark.parametrize(
    ("model", "scheme"), RUNS, ids=[scheme.name for _, scheme in RUNS]
)
#: Seeded times from a thousandth of a stable step to 150 stable steps of the grid below. Products
#: of a number of steps with its reciprocal, which are not always 1, come up often.
TIMES = 10 ** np.random.default_rng(417).uniform(-3, 1.57, 600)
IMAGE = np.linspace(0, 100, 4, dtype=np.float32).reshape(2, 2)


def ends(image, model, **options):
    """Fraction and time of every state."""
    return [(state.fraction, state.time) for state in nd.evolve(image, model, **options)]


@every_scheme
def test_last_state_and_no_other_is_the_end(model, scheme):
    for time in TIMES.tolist():
        *before, last = ends(IMAGE, model, time=time, scheme=scheme)
        assert last == (1.0, time)
        assert all(fraction < 1 and reached < time for fraction, reached in before)


@every_scheme
def test_every_frame_ends_at_the_time_and_the_last_at_the_end(model, scheme):
    frames = np.stack([IMAGE] * 7)
    for time in TIMES[:100].tolist():
        states = list(nd.evolve(frames, model, time=time, scheme=scheme, axes=(1, 2)))
        assert [state.frame for state in states if state.time == time] == list(range(7))
        assert [state.fraction for state in states if state.fraction >= 1] == [1.0]
        assert states[-1].fraction == 1.0


@every_scheme
def test_longest_time_of_a_float_is_reached(model, scheme):
    """On an image of one voxel nothing diffuses, so that any time is allowed."""
    for dtype in (np.float32, np.float64):
        (state,) = nd.evolve(np.full((1, 1), 7, dtype), model, time=1.7e308, scheme=scheme)
        assert (state.fraction, state.time, state.image) == (1.0, 1.7e308, 7)
    times = [stage.time for stage in scheme.stages(1.7e308, 1e306, 1e-3) if stage.time is not None]
    assert times[-1] == 1.7e308
    assert all(a < b for a, b in pairwise(times))


@pytest.mark.parametrize("shape", [(0, 4), (3, 0)])
def test_image_without_voxels_is_at_the_end_at_once(shape):
    assert ends(np.zeros(shape), nd.PeronaMalik(), time=41.7) == [(1.0, 41.7)]


@dataclass(frozen=True)
class Rounded(Scheme):
    """Euler steps whose times are sums of steps, as a foreign scheme may compute them."""

    name = "rounded"
    order = 1
    monotone = True

    def stages(self, time, max_step, tolerance):
        reached, steps = 0.0, [*Explicit().stages(time, max_step, tolerance)]
        for stage in steps:
            reached += stage.step
            yield stage._replace(time=reached)


@dataclass(frozen=True)
class Short(Scheme):
    """A scheme that stops at half of the time."""

    name = "short"
    order = 1
    monotone = True

    def stages(self, time, max_step, tolerance):
        return Explicit().stages(time / 2, max_step, tolerance)


@dataclass(frozen=True)
class Silent(Scheme):
    """A scheme whose last stage is within a superstep."""

    name = "silent"
    order = 1
    monotone = True

    def stages(self, time, max_step, tolerance):
        return [Stage(0.0, max_step / 2, None)]


def test_rounded_times_of_a_foreign_scheme_end_exactly():
    for time in TIMES[:300].tolist():
        *before, last = ends(IMAGE, nd.PeronaMalik(), time=time, scheme=Rounded())
        assert last == (1.0, time)
        assert all(fraction < 1 for fraction, _ in before)


@pytest.mark.parametrize("scheme", [Short(), Silent()], ids=lambda scheme: scheme.name)
def test_scheme_that_does_not_reach_the_time_is_refused(scheme):
    with pytest.raises(ValueError, match=r"end at the time .* must end at the diffusion time 41.7"):
        nd.diffuse(IMAGE, nd.PeronaMalik(), time=41.7, scheme=scheme)


def test_explicit_steps_of_a_chosen_length_end_exactly():
    for time in TIMES[:300].tolist():
        last = ends(IMAGE, nd.PeronaMalik(), time=time, scheme=Explicit(step=0.07))[-1]
        assert last == (1.0, time)


@pytest.mark.parametrize("model", [nd.PeronaMalik(), nd.EdgeEnhancing()], ids=lambda m: m.name)
@pytest.mark.parametrize("impulses", ["keep", "mask"])
@pytest.mark.parametrize("axes", [None, (1, 2)], ids=["volume", "planes"])
@pytest.mark.parametrize("time", [0.0, 0.5])
def test_a_run_to_the_end_has_the_last_state_of_a_run_in_steps(model, impulses, axes, time):
    """Whether its frames are run one by one, side by side, or not at all."""
    image = np.random.default_rng(0).normal(100, 8, (5, 16, 16)).astype(np.float32)
    image[2, 7, 7] = 900
    problem = make_problem(image, Recipe(model, time, impulses=impulses, axes=axes))
    *_, last = evolve(problem)
    end = run_to_end(problem)
    for name in ("time", "fraction", "frame", "replaced", "devices"):
        assert getattr(end, name) == getattr(last, name)
    assert end.image.tobytes() == last.image.tobytes()
    assert (end.replaced > 0) == (impulses == "mask")
