"""Laws that every time integration scheme satisfies, as public checks.

``check_scheme(MyScheme())`` checks all laws for a new scheme, on those of three models that it
accepts: linear diffusion, regularised Perona-Malik and edge-enhancing diffusion.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise, product
from typing import Any

import numpy as np

from napari_diffusion import schemes
from napari_diffusion.core.arrays import Array
from napari_diffusion.core.geometry import Domain, Geometry
from napari_diffusion.core.parameters import parameters
from napari_diffusion.engine.blocks import run_in_blocks
from napari_diffusion.engine.execution import Execution
from napari_diffusion.engine.in_memory import run
from napari_diffusion.engine.planner import make_plan
from napari_diffusion.engine.problem import Problem, make_problem
from napari_diffusion.engine.recipe import Recipe
from napari_diffusion.models import EdgeEnhancing, Linear, Model, PeronaMalik
from napari_diffusion.schemes import Scheme
from napari_diffusion.testing.cases import CONSTANTS, RANGE, ROUNDING, Case, named

MODELS: tuple[Model, ...] = (Linear(), PeronaMalik(sigma=1.0), EdgeEnhancing())
CASE = Case((9, 15, 14), (4.0, 1.0, 0.8), "float64")
#: Diffusion time, in stable steps of the model.
STABLE_STEPS = 6
#: Amplitude of a mode, below which its error is rounding.
ROUNDING_ERROR = 1e-11


def problems(scheme: Scheme, **options: Any) -> Iterator[Problem]:
    """Yield the runs that the scheme accepts; ``options`` are fields of a recipe."""
    for model in MODELS:
        time = STABLE_STEPS * min(CASE.max_step(model), 10.0)
        recipe = Recipe(model, time, scheme=scheme, **options)
        for labels in (None, np.indices(CASE.shape).sum(0) // 4 % 3):
            domain = Domain(labels=labels)
            problem = make_problem(CASE.picture(), recipe, Geometry(CASE.spacing), domain)
            plan = make_plan(replace(problem, recipe=replace(recipe, scheme="auto")))
            if scheme.refusal(plan.operator, plan.grid, recipe.strict) is None:
                yield problem


def some_model_is_accepted(scheme: Scheme) -> None:
    """The scheme accepts one of the models at least; otherwise the other laws hold trivially."""
    assert any(problems(scheme)), "the scheme accepts none of the models"


def stages_end_at_the_time(scheme: Scheme) -> None:
    """Reported times rise and end exactly at the diffusion time; time 0 needs no stage."""
    for problem in problems(scheme):
        time = problem.recipe.time
        stages = make_plan(problem).stages
        times = [stage.time for stage in stages if stage.time is not None]
        assert times, "no stage reports its time"
        assert times[-1] == stages[-1].time == time, f"the stages end at {stages[-1].time}"
        assert all(a < b for a, b in pairwise(times)), "times do not rise"
        assert not list(scheme.stages(0.0, 0.1, 1e-3)), "time 0 has stages"


def options_survive_a_recipe(scheme: Scheme) -> None:
    """A recipe with the scheme is saved as JSON and loaded again; the scheme must be registered."""
    recipe = Recipe(Linear(), 1.0, scheme=scheme)
    loaded = Recipe.from_json(recipe.to_json())
    assert loaded.scheme == scheme, f"{scheme} was loaded as {loaded.scheme}"
    assert scheme.name in schemes.names()


def units_are_true(scheme: Scheme) -> None:
    """A recipe in another unit of length gives the same result: options are declared with units."""
    for problem in problems(scheme):
        metres = replace(problem.recipe, unit="meter")
        centimetres = metres.in_unit("centimeter")
        sizes = Geometry(tuple(100 * h for h in problem.spacing), problem.axes)
        rescaled = make_problem(problem.image, centimetres, sizes, problem.domain)
        np.testing.assert_allclose(run(rescaled), run(problem), rtol=0, atol=1e-10 * RANGE)
    for parameter in parameters(scheme):
        assert parameter.doc.endswith("."), f"{parameter.name} has no help sentence"


def constants_are_fixed(scheme: Scheme) -> None:
    """A constant image is unchanged bit for bit: a stage adds differences only."""
    for problem, value, dtype in product(problems(scheme), CONSTANTS, ROUNDING):
        constant = np.full(CASE.shape, value, dtype)
        _same(
            run(make_problem(constant, problem.recipe, problem.geometry, problem.domain)), constant
        )


def mean_is_kept(scheme: Scheme) -> None:
    """The mean is kept, since all fluxes are between voxels."""
    for problem in problems(scheme):
        drift = run(problem).mean() - problem.image.mean()
        assert abs(drift) <= 1e-9 * RANGE, f"the mean moved by {drift:g}"


def extrema_are_kept(scheme: Scheme) -> None:
    """A scheme that is declared monotone keeps all values within the range of the input."""
    if not scheme.monotone:
        return
    for problem in problems(scheme, strict=True):
        result, image = run(problem), problem.image
        slack = 1e-12 * RANGE
        assert image.min() - slack <= result.min(), f"minimum fell to {result.min()}"
        assert result.max() <= image.max() + slack, f"maximum rose to {result.max()}"


def order_is_as_declared(scheme: Scheme) -> None:
    """Halved steps reduce the error of a decaying cosine as the declared order says.

    The order is at least the declared one minus 0.15. It is checked for schemes whose number of
    steps can be set.
    """
    n = 64
    image = np.cos(np.pi * (np.arange(n) + 0.5) / n)[:, None] * np.ones((1, 2))
    # The mode is an eigenvector of the grid's second difference, with this rate.
    rate = 2 * (1 - math.cos(math.pi / n))
    time = 0.7 / rate
    for count in (8, 64, 512, 4096):  # the first number of steps that is stable
        errors = []
        for refined in (scheme.with_steps(time, count), scheme.with_steps(time, 2 * count)):
            if refined is None:
                return
            recipe = Recipe(Linear(), time, scheme=refined, tolerance=1e-11)
            try:
                result = run(make_problem(image, recipe, Geometry(1.0)))
            except ValueError:
                break
            errors.append(float(np.abs(result - image * math.exp(-0.7)).max()))
        if len(errors) == 2:
            break
    if len(errors) == 2 and errors[1] > ROUNDING_ERROR:
        observed = math.log2(errors[0] / errors[1])
        assert observed >= scheme.order - 0.15, f"order {observed:.2f}, declared {scheme.order}"


def result_approaches_the_solution(scheme: Scheme) -> None:
    """The result is that of another scheme with fine steps, within 5 % of the range."""
    for problem in problems(scheme):
        limit = make_plan(problem).max_step
        fine = schemes.Explicit(step=limit / 20)
        expected = run(replace(problem, recipe=replace(problem.recipe, scheme=fine)))
        error = np.sqrt(np.mean((run(problem) - expected) ** 2))
        assert error <= 0.05 * RANGE, f"the result differs by {error:g} root mean square"


def threads_agree(scheme: Scheme) -> None:
    """Runs with one and with several threads agree bit for bit."""
    image = np.tile(CASE.picture(), (40, 2, 2))
    for problem in problems(scheme):
        if problem.regions is None:
            recipe = replace(problem.recipe, time=problem.recipe.time / 3)
            large = make_problem(image, recipe, Geometry(CASE.spacing))
            one, three = (run(large, Execution(threads=n)) for n in (1, 3))
            _same(three, one)


def passes_and_blocks_are_exact(scheme: Scheme) -> None:
    """A run in passes of one stage and in blocks has every bit of the whole run."""
    for problem in problems(scheme):
        whole, count = run(problem), make_plan(problem).steps
        _same(run_in_blocks(problem, range(1, count), (5, 15, 7)), whole)


def input_is_untouched(scheme: Scheme) -> None:
    """The input is not modified, and a second run gives the same bits."""
    for problem in problems(scheme):
        image = problem.image.copy()
        image.flags.writeable = False
        first = run(replace(problem, image=image))
        _same(image, problem.image)
        _same(run(replace(problem, image=problem.image.copy())), first)


LAWS: tuple[Callable[[Scheme], None], ...] = (
    some_model_is_accepted,
    stages_end_at_the_time,
    options_survive_a_recipe,
    units_are_true,
    constants_are_fixed,
    mean_is_kept,
    extrema_are_kept,
    order_is_as_declared,
    result_approaches_the_solution,
    threads_agree,
    passes_and_blocks_are_exact,
    input_is_untouched,
)


def check_scheme(scheme: Scheme) -> None:
    """Check every law in `LAWS` for a scheme.

    Parameters
    ----------
    scheme
        The scheme, which is registered under the entry point group ``napari_diffusion.schemes``.

    Raises
    ------
    AssertionError
        If the scheme violates a law. The message names the law and what it states.
    """
    for law in LAWS:
        with named(type(scheme).__name__, law):
            law(scheme)


def _same(left: Array, right: Array) -> None:
    np.testing.assert_array_equal(left, right)
