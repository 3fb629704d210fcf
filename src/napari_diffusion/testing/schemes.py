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
from napari_diffusion.engine.execution import Execution
from napari_diffusion.engine.in_memory import run
from napari_diffusion.engine.out_of_core.blocks import run_in_blocks
from napari_diffusion.engine.planner import make_plan
from napari_diffusion.engine.problem import Problem, make_problem
from napari_diffusion.engine.recipe import Recipe
from napari_diffusion.models import EdgeEnhancing, Linear, Model, PeronaMalik
from napari_diffusion.schemes import Scheme
from napari_diffusion.schemes.base import check_declaration
from napari_diffusion.testing.cases import CONSTANTS, RANGE, ROUNDING, Case, named

MODELS: tuple[Model, ...] = (Linear(), PeronaMalik(sigma=1.0), EdgeEnhancing())
CASE = Case((9, 15, 14), (4.0, 1.0, 0.8), "float64")
#: Diffusion time, in stable steps of the model.
STABLE_STEPS = 6
#: Amplitude of a mode, below which its error is rounding, or that of truncated exponentials.
ROUNDING_ERROR = 1e-9


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


def declaration_is_complete(scheme: Scheme) -> None:
    """The class declares name, order, monotone, options and methods."""
    check_declaration(type(scheme))


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


def steps_are_stable(scheme: Scheme) -> None:
    """A monotone scheme has no explicit step beyond `max_step`, beyond which values overshoot."""
    if not scheme.monotone or scheme.is_direct:
        return
    for problem in problems(scheme):
        plan = make_plan(problem)
        for number, stage in enumerate(plan.stages, 1):
            assert stage.momentum or stage.step <= plan.max_step * (1 + 1e-9), (
                f"stage {number} of {plan.steps} has the step {stage.step:g}, "
                f"and max_step is {plan.max_step:g} for {_name(problem)}"
            )


def steps_cover_the_time(scheme: Scheme) -> None:
    """A smooth wave decays by as much as the diffusion time says, to 2 % of the decay."""
    n = 64
    wave = np.cos(np.pi * (np.arange(n) + 0.5) / n)[:, None] * np.ones((1, 2))
    rate = 2 * (1 - math.cos(math.pi / n))
    # With an infinite threshold, Perona-Malik diffusion is linear.
    for model in (Linear(), PeronaMalik(kappa=1e9, sigma=1.0)):
        recipe = Recipe(model, 10.0, scheme=scheme, tolerance=1e-6)
        problem = make_problem(wave, recipe, Geometry(1.0))
        plan = make_plan(replace(problem, recipe=replace(recipe, scheme="auto")))
        if scheme.refusal(plan.operator, plan.grid, False) is not None:
            continue
        try:
            result = run(problem)
        except ValueError:  # a step that the scheme refuses for this grid
            continue
        decay = 1 - float(np.vdot(result, wave) / np.vdot(wave, wave))
        expected = 1 - math.exp(-rate * recipe.time)
        assert abs(decay / expected - 1) < 0.02, (
            f"for the time 10, it decays as after the time {-math.log1p(-decay) / rate:.3g}"
        )


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
        assert abs(drift) <= 1e-9 * RANGE, f"{_name(problem)} moved the mean by {drift:g}"


def extrema_are_kept(scheme: Scheme) -> None:
    """A scheme that is declared monotone keeps all values within the range of the input."""
    if not scheme.monotone:
        return
    impulse = np.zeros(CASE.shape)
    impulse[tuple(n // 2 for n in CASE.shape)] = RANGE
    for problem, is_impulse in product(problems(scheme, strict=True), (False, True)):
        image = impulse if is_impulse else problem.image
        result, slack = run(replace(problem, image=image)), 1e-12 * RANGE
        beyond = max(image.min() - result.min(), result.max() - image.max())
        assert beyond <= slack, f"values of {_name(problem)} leave the range by {beyond:g}"


def order_is_as_declared(scheme: Scheme) -> None:
    """Halved steps reduce the error of a decaying wave as the declared order says.

    With a fidelity length, the order is the same. It is at least the declared one minus 0.15. Steps
    are halved by `with_steps`. A scheme without it gets half the `max_step`, and its stages are
    applied to the amplitude of a wave.
    """
    for rate in (0.0, 2.0):
        errors = _errors_by_steps(scheme, rate)
        if errors is None and not scheme.is_direct:
            errors = _errors_by_max_step(scheme, rate)
        if errors is not None and errors[1] > ROUNDING_ERROR:
            observed = math.log2(errors[0] / errors[1])
            where = f", with a source of the rate {rate}" if rate else ""
            assert observed >= scheme.order - 0.15, (
                f"order {observed:.2f}, declared {scheme.order}{where}"
            )


def _errors_by_steps(scheme: Scheme, source: float) -> tuple[float, float] | None:
    """Return the errors of a scheme and of its half steps; ``None`` if its steps are fixed.

    ``source`` is the rate of the fidelity, in units of that of the wave.
    """
    n = 64
    image = np.cos(np.pi * (np.arange(n) + 0.5) / n)[:, None] * np.ones((1, 2))
    # The wave is an eigenvector of the grid's second difference, with this rate.
    rate = 2 * (1 - math.cos(math.pi / n))
    time = 0.7 / rate
    for count in (8, 64, 512, 4096):  # the first number of steps that is stable
        errors = []
        for refined in (scheme.with_steps(time, count), scheme.with_steps(time, 2 * count)):
            if refined is None:
                return None
            length = None if source == 0 else (source * rate) ** -0.5
            recipe = Recipe(Linear(), time, scheme=refined, tolerance=1e-11, fidelity_length=length)
            try:
                result = run(make_problem(image, recipe, Geometry(1.0)))
            except ValueError:
                break
            errors.append(float(np.abs(result - image * _amplitude(source)).max()))
        if len(errors) == 2 and errors[0] < 1:  # an unstable wave grows
            return errors[0], errors[1]
    return None


def _amplitude(source: float) -> float:
    """Return the amplitude at the time 0.7 of a wave with the rate 1 and a source of this rate."""
    return 1 + math.expm1(-0.7 * (1 + source)) / (1 + source)


def _errors_by_max_step(scheme: Scheme, source: float) -> tuple[float, float] | None:
    """Return the errors of the stages for a `max_step` and for its half; ``None`` if they agree.

    ``source`` is as in `_errors_by_steps`.
    """
    time, rate, errors = 0.7, 1.0, []
    for max_step in (time / 64, time / 128):
        try:
            stages = scheme.stages(time, max_step, 1e-11)
        except ValueError:  # a step of a fixed length that is too long
            return None
        before = now = start = 1.0
        for stage in stages:
            slope = source * (1 - now) - rate * now
            change = stage.momentum * (now - before) + stage.step * slope
            before, now = now, now + change
            now += stage.start_weight * (start - now)
            start = start if stage.time is None else now
        errors.append(abs(now - _amplitude(source)))
    return None if errors[0] == errors[1] else (errors[0], errors[1])


def result_approaches_the_solution(scheme: Scheme) -> None:
    """The result is that of another scheme with fine steps, within 5 % of the range."""
    for problem in problems(scheme):
        limit = make_plan(problem).max_step
        fine = schemes.Explicit(step=limit / 20)
        expected = run(replace(problem, recipe=replace(problem.recipe, scheme=fine)))
        error = np.sqrt(np.mean((run(problem) - expected) ** 2))
        assert error <= 0.05 * RANGE, (
            f"the result of {_name(problem)} differs by {error:g} root mean square"
        )


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
    declaration_is_complete,
    some_model_is_accepted,
    stages_end_at_the_time,
    steps_are_stable,
    steps_cover_the_time,
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


def _name(problem: Problem) -> str:
    """Return what a message says of a run: its model, and whether it has labels."""
    labels = "" if problem.regions is None else " with labels"
    return f"{type(problem.recipe.model).__name__}{labels}"


def _same(left: Array, right: Array) -> None:
    np.testing.assert_array_equal(left, right)
