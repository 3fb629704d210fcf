"""Cells of the table of docs/graphics_card.md: which runs have kernels on a device."""

import numpy as np

import napari_diffusion as nd
from napari_diffusion.backends.devices import Device
from napari_diffusion.core.geometry import Domain, Geometry
from napari_diffusion.engine.devices.choice import obstacle
from napari_diffusion.engine.dry_run import dry_run
from napari_diffusion.engine.planner import make_plan
from napari_diffusion.engine.problem import make_problem
from napari_diffusion.engine.recipe_fields import RecipeFields

SHAPE = (6, 7, 8)
#: A device that has everything; only the kernels of the package decide.
CARD = Device("card", "", "", 1 << 40, True, True, None)


def has_kernels(model, labels=None, strict=False):
    """Whether a run of a model has kernels on a device."""
    image = np.zeros(SHAPE, np.float32)
    recipe = RecipeFields(model, 0.1, strict=strict)
    problem = make_problem(image, recipe, Geometry(), Domain(labels=labels))
    plan, dry = make_plan(problem), dry_run(model, make_plan(problem).grid)
    return obstacle(problem, dry, plan.scheme, plan.stages, CARD) is None


def table():
    """Return the lines of the table."""
    labels = np.indices(SHAPE).sum(0) // 5
    lines = ["| model | plain | with mask or labels | `strict` |", "| --- | --- | --- | --- |"]
    for kind in nd.models.BUILTIN:
        cells = [has_kernels(kind()), has_kernels(kind(), labels)]
        cells += [has_kernels(kind(), strict=True)] if kind.keeps_extrema else []
        words = ["device" if has else "processor" for has in cells]
        words += ["not possible"] * (3 - len(words))
        lines.append(f"| {kind.title} | {' | '.join(words)} |")
    return lines
