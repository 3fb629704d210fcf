"""Laws of the models in runs that are held to their input, or guided by another image."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_diffusion.api.filters import plan
from napari_diffusion.core.arrays import Array
from napari_diffusion.core.geometry import Domain, Geometry
from napari_diffusion.engine.in_memory import run
from napari_diffusion.engine.out_of_core.blocks import run_in_blocks
from napari_diffusion.engine.planner import make_plan
from napari_diffusion.engine.problem import make_problem
from napari_diffusion.engine.recipe_fields import RecipeFields
from napari_diffusion.models import Model
from napari_diffusion.testing.cases import (
    CONSTANTS,
    RANGE,
    Case,
    close,
    decoded,
    encoded,
    same,
)


def fidelity_keeps_the_laws(model: Model, case: Case) -> None:
    """With a fidelity length, constants, mean and extrema are kept, and blocks are exact.

    The result is closer to the input than without, and a very long length has no effect.
    """
    image, time = case.picture(), case.time(model) / 4
    held = decoded(model, encoded(model, image))
    options: dict[str, Any] = {"time": time, "fidelity_length": 1.5 * min(case.spacing)}
    constant = np.full(case.shape, CONSTANTS[0], case.dtype)
    same(case.run(model, constant, **options), decoded(model, encoded(model, constant)))
    _check_extrema(model, case, options)
    labels = np.indices(case.shape).sum(0) // 3 % 4
    recipe = RecipeFields(model, **options)
    problem = make_problem(image, recipe, Geometry(case.spacing), Domain(labels=labels))
    block = (-(-case.shape[0] // 2), *case.shape[1:-1], -(-case.shape[-1] // 2))
    count = make_plan(problem).steps
    same(run_in_blocks(problem, (count // 3, count // 2), block), run(problem))
    near, free = case.run(model, image, **options), case.run(model, image, time=time)
    if model.conservative:
        drift = near.mean(dtype=float) - image.mean(dtype=float)
        assert abs(drift) <= 1e-6 * np.ptp(image), f"the mean moved by {drift:g}"
    # The source changes the result by at most T/l² of the range.
    loose = case.run(model, image, time=time, fidelity_length=1e4 * time**0.5)
    close(model, loose, free, 1e-8 * RANGE + case.rounding)
    distances = [float(np.square(u - held, dtype=float).sum()) for u in (near, free)]
    assert distances[0] < distances[1], f"squared distances to the input: {distances}"


def guide_keeps_the_laws(model: Model, case: Case) -> None:
    """With a guide, constants, mean and extrema are kept, and blocks are exact.

    With a guide of weight 1 the run is linear in the image. Models without edges refuse a guide.
    """
    image, time = case.picture(), case.time(model) / 4
    options: dict[str, Any] = {"time": time, "guide": _guide(case)}
    if not plan(image, model, time=time, spacing=case.spacing).operator.takes_guide:
        try:
            case.run(model, image, **options)
        except ValueError:
            return
        raise AssertionError("it takes no edges from a guide, and runs")
    constant = np.full(case.shape, CONSTANTS[0], case.dtype)
    same(case.run(model, constant, **options), decoded(model, encoded(model, constant)))
    labels = np.indices(case.shape).sum(0) // 3 % 4
    block = (-(-case.shape[0] // 2), *case.shape[1:-1], -(-case.shape[-1] // 2))
    _check_extrema(model, case, options)
    for weight in (1.0, 0.5):
        result = case.run(model, image, guide_weight=weight, **options)
        if model.conservative:
            drift = result.mean(dtype=float) - image.mean(dtype=float)
            assert abs(drift) <= 1e-6 * np.ptp(image), f"the mean moved by {drift:g}"
        recipe = RecipeFields(model, time, guide_weight=weight)
        domain = Domain(labels=labels, guide=options["guide"])
        problem = make_problem(image, recipe, Geometry(case.spacing), domain)
        count = make_plan(problem).steps
        same(run_in_blocks(problem, (count // 3, count // 2), block), run(problem))
    if not model.has_transform:
        parts = image / 2, image[::-1] / 4
        results = [case.run(model, part, **options) for part in (*parts, parts[0] + parts[1])]
        close(model, results[2], results[0] + results[1], case.rounding)


def options_go_together(model: Model, case: Case) -> None:
    """With mask, source, guide and transform at once, blocks are exact, and channels share one run.

    Nothing changes outside the mask.
    """
    image, time = case.picture(), case.time(model) / 8
    options: dict[str, Any] = {"fidelity_length": 1.5 * min(case.spacing)}
    if not model.has_transform:
        options["transform"] = "anscombe"
    takes_guide = plan(image, model, time=time, spacing=case.spacing).operator.takes_guide
    guide = _guide(case) if takes_guide else None
    mask = np.indices(case.shape).sum(0) > 6
    domain = Domain(mask=mask, guide=guide)
    problem = make_problem(
        image, RecipeFields(model, time, **options), Geometry(case.spacing), domain
    )
    result, count = run(problem), make_plan(problem).steps
    same(result[~mask], image[~mask])
    assert np.ptp(result[mask] - image[mask]) > 0, "nothing changed within the mask"
    block = (-(-case.shape[0] // 2), *case.shape[1:-1], -(-case.shape[-1] // 2))
    same(run_in_blocks(problem, (count // 2,), block), result)
    copies = np.stack([image, image], -1)
    options |= {"time": time, "mask": mask, "guide": guide, "channel_axis": -1}
    colours = case.run(model, copies, **options)
    for colour in np.moveaxis(colours, -1, 0):
        # The inverse transform multiplies rounding errors by up to the root of the photons.
        close(model, colour, result, 20 * case.rounding)


def _check_extrema(model: Model, case: Case, options: dict[str, Any]) -> None:
    """Check that no value leaves the range of the input, if the model has an extremum principle."""
    if not model.keeps_extrema:
        return
    image = case.picture()
    held = decoded(model, encoded(model, image))
    strict = case.run(model, image, strict=True, **options)
    slack = 4 * np.finfo(image.dtype).eps * RANGE
    assert strict.min() >= held.min() - slack, f"minimum fell to {strict.min()}"
    assert strict.max() <= held.max() + slack, f"maximum rose to {strict.max()}"


def _guide(case: Case) -> Array:
    """Return a guide with a ball at another place than in the test image."""
    x = np.meshgrid(*(np.linspace(-1, 1, n) for n in case.shape), indexing="ij")
    ball = np.sum([(c - 0.3) ** 2 for c in x], axis=0) < 0.3
    noise = np.random.default_rng(20261).normal(size=case.shape)
    return np.asarray(np.abs(30 + 50 * ball + 2 * noise), case.dtype)
