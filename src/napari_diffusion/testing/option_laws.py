"""Laws of the models in runs that are held to their input."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_diffusion.core.geometry import Domain, Geometry
from napari_diffusion.engine.blocks import run_in_blocks
from napari_diffusion.engine.in_memory import run
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
    strict = case.run(model, image, strict=True, **options)
    slack = 4 * np.finfo(image.dtype).eps * RANGE
    assert strict.min() >= held.min() - slack, f"minimum fell to {strict.min()}"
    assert strict.max() <= held.max() + slack, f"maximum rose to {strict.max()}"
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
