"""The error of the time integration, measured on a patch of the image."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from napari_diffusion.core.geometry import Domain, Geometry
from napari_diffusion.core.parameters import checked_whole
from napari_diffusion.engine.frame import check_finite, check_range
from napari_diffusion.engine.in_memory import run
from napari_diffusion.engine.planner import make_plan
from napari_diffusion.engine.problem import Problem, make_problem
from napari_diffusion.engine.recipe_fields import RecipeFields


def time_integration_error(problem: Problem, patch_side: int = 64) -> float:
    r"""Estimate the error of the time integration of a run, as a share of the intensity range.

    The middle of the middle frame is filtered by the schedule of the run, and again with every step
    halved. A scheme of order p leaves (Richardson 1911)

    .. math:: \|u_\tau - u\| \approx \frac{2^p}{2^p - 1}\,\|u_\tau - u_{\tau/2}\|

    Parameters
    ----------
    problem
        The run; its values must be finite.
    patch_side
        Voxels of the patch along each axis.

    Returns
    -------
    float
        Root mean square error divided by the range of the patch; 0 for the exact scheme and for
        constant images.

    Raises
    ------
    ValueError
        When the number of steps of the scheme cannot be set.
    """
    patch_side = checked_whole("largest", patch_side, 1)
    plan, time = make_plan(problem), problem.recipe.time
    count = sum(stage.time is not None for stage in plan.stages)
    frames = list(problem.frames()) if 0 not in problem.shape else []
    if not count or not frames:
        return 0.0
    coarse, fine = (plan.scheme.with_steps(time, n) for n in (count, 2 * count))
    if plan.scheme.order == math.inf:
        return 0.0
    if coarse is None or fine is None:
        raise ValueError(
            f"The scheme {plan.scheme.name!r} has steps of a fixed length, so that its error "
            "cannot be estimated by halved steps."
        )
    index = frames[len(frames) // 2]
    patch = problem.read(index)[0]
    check_finite(problem, index, ~np.isfinite(patch))
    check_range(problem, patch)
    starts = [max(0, (n - patch_side) // 2) for n in patch.shape[1:]]
    place = plan.grid.place
    domain = Domain(place=None if place is None else place.moved(starts))
    patch = patch[(slice(None), *(slice(start, start + patch_side) for start in starts))]
    extent = float(np.subtract(*np.percentile(patch, [99.9, 0.1])))
    if not extent > 0:
        return 0.0

    geometry = Geometry(
        problem.kernel_spacing, channel_axis=0, channel_weights=tuple(problem.weights)
    )
    recipe = RecipeFields(problem.recipe.model, time, impulses=problem.recipe.impulses)
    recipes = [replace(recipe, scheme=scheme) for scheme in (coarse, fine)]
    results = [run(make_problem(patch, recipe, geometry, domain)) for recipe in recipes]
    difference = np.sqrt(np.mean(np.square(results[0] - results[1], dtype=float)))
    order = plan.scheme.order
    return float(difference * 2**order / (2**order - 1) / extent)
