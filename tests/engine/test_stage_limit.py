"""Too long a schedule is refused before it is made, by every scheme, in a sentence."""

import itertools
import math
from dataclasses import dataclass

import numpy as np
import pytest

import napari_diffusion as nd
from helpers.hostile import check_sentence
from helpers.processes import python
from napari_diffusion.core.errors import InputError, Remedy
from napari_diffusion.engine.planner import MAX_STAGES
from napari_diffusion.schemes import (
    FSI,
    RKL2,
    Exact,
    Explicit,
    Extrapolated,
    Midpoint,
    Scheme,
    Stage,
)

ZEROS = np.zeros((16, 16, 16), np.float32)
SCHEMES = [
    Exact(),
    Explicit(),
    Explicit(step=0.1),
    FSI(),
    FSI(cycles=7),
    RKL2(),
    RKL2(supersteps=3),
    Midpoint(),
    Midpoint(cycles=40),
    Extrapolated(),
    Extrapolated(cycles=40),
]


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_stages_are_counted_without_making_them(scheme):
    """The counted number is that of the stages made, for times of 1e-3 to 5e3 stable steps."""
    for time, tolerance in itertools.product(
        [0.0, *np.geomspace(2e-4, 1e3, 40)], [1e-6, 1e-3, 1.0]
    ):
        count = scheme.stage_count(time, 0.2, tolerance)
        assert count == len(list(scheme.stages(time, 0.2, tolerance)))


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_stages_of_any_time_are_counted(scheme):
    """No quotient overflows, whatever the time, the stable step and the tolerance."""
    numbers = [5e-324, 1e-300, 1.0, 1e300, 1.7e308]
    for time, step, tolerance in itertools.product(numbers, [*numbers, math.inf], numbers):
        try:
            assert scheme.stage_count(time, step, tolerance) >= 1
        except ValueError as error:  # a step of fixed length that is too long
            check_sentence(error, type(scheme).__name__)


@pytest.mark.parametrize(
    ("model", "options", "count"),
    [
        (nd.EdgeEnhancing(), {"tolerance": 1e-20}, "2.28634e+12"),
        (nd.EdgeEnhancing(), {"tolerance": 1e-300}, "3.82183e+12"),
        (nd.EdgeEnhancing(), {"tolerance": 1e-20, "scheme": "rkl2"}, "2.49415e+10"),
        (nd.PeronaMalik(), {"scheme": RKL2(supersteps=100_000)}, "300000"),
        (nd.PeronaMalik(), {"scheme": FSI(cycles=10**30)}, "more than 1e+18"),
        (nd.Linear(), {"scheme": Midpoint(cycles=10**7)}, "2e+07"),
        (nd.PeronaMalik(), {"scheme": Explicit(step=1e-9)}, "1e+09"),
    ],
)
def test_too_many_stages_are_refused_with_their_number(model, options, count):
    with pytest.raises(InputError) as caught:
        nd.plan(ZEROS, model, time=1, **options)
    check_sentence(caught.value, f"needs {count} stages", f"at most {MAX_STAGES}", "tolerance")
    assert caught.value.remedy is Remedy.TAKE_FEWER_STAGES


def test_recipe_file_with_too_small_a_tolerance_is_refused():
    text = nd.Recipe(nd.EdgeEnhancing(), 1.0, tolerance=1e-20).to_json()
    with pytest.raises(InputError, match="tolerance of 1e-20"):
        nd.Recipe.from_json(text).diffuse(ZEROS)


@pytest.mark.parametrize("time", [1e5, 1e20, 1.7e308])
def test_too_long_a_time_is_refused_with_its_steps(time):
    for model in (nd.EdgeEnhancing(), nd.PeronaMalik(), nd.TotalVariation()):
        with pytest.raises(InputError) as caught:
            nd.plan(ZEROS, model, time=time)
        check_sentence(caught.value, f"{time:g}", "stable steps", "at most", "units")
        assert "inf" not in str(caught.value)


@pytest.mark.parametrize("spacing", [1e-12, (1e-12, 1.0, 1e12), (1e12, 1e12, 1e-12)])
def test_tiny_voxels_and_huge_ratios_are_planned_or_refused(spacing):
    """The last pair of sizes has voxels so large that the time is a tiny part of a step."""
    for model, scheme in itertools.product(
        [nd.Linear(), nd.EdgeEnhancing(sigma=0.0, rho=0.0), nd.MeanCurvature()],
        ["auto", "explicit", "rkl2", "fsi"],
    ):
        with pytest.raises(InputError, match="stable steps"):
            nd.plan(ZEROS, model, time=1.0, spacing=spacing, scheme=scheme)
        assert nd.plan(ZEROS, model, time=1e-24, spacing=spacing, scheme=scheme).steps <= 100


def test_default_cycles_are_never_too_long():
    for steps, tolerance in itertools.product(
        np.geomspace(1e-3, MAX_STAGES, 30), np.geomspace(1e-12, 1e12, 25)
    ):
        assert Midpoint().stage_count(steps, 1.0, tolerance) >= 2


@dataclass(frozen=True)
class Endless(Scheme):
    """A scheme of another package, which neither counts its stages nor comes to an end."""

    name = "endless"
    order = 1
    monotone = True

    def stages(self, time, max_step, tolerance):
        while True:
            yield Stage(0.0, 1e-9, None)


@dataclass(frozen=True)
class Counted(Endless):
    """It counts its stages, which must then not be made."""

    def stages(self, time, max_step, tolerance):
        raise AssertionError("the stages are made")

    def stage_count(self, time, max_step, tolerance):
        return 123_456_789


@pytest.mark.parametrize(
    ("scheme", "count"), [(Endless(), "more than 100000"), (Counted(), "1.23457e+08")]
)
def test_foreign_scheme_with_too_many_stages_is_refused(scheme, count):
    with pytest.raises(InputError, match=f"needs {count.replace('+', '.')} stages"):
        nd.plan(ZEROS, nd.PeronaMalik(), time=1.0, scheme=scheme)


def test_interrupt_ends_a_long_run():
    """Ctrl-C has effect within a run of many stages."""
    code = """
import _thread, threading
import numpy as np
import napari_diffusion as nd

threading.Timer(0.5, _thread.interrupt_main).start()
try:
    nd.diffuse(np.zeros((9, 9)), nd.PeronaMalik(), time=2e4, backend="reference")
except KeyboardInterrupt:
    print('"interrupted"')
"""
    assert python(code) == "interrupted"
