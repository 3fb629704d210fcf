"""Values to begin with, from the noise alone: nothing is filtered, so no kernel is needed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from napari_diffusion.core.cancellation import CancelEvent
from napari_diffusion.engine.problem import Problem
from napari_diffusion.estimation.measurement.guide import noise_of_edges
from napari_diffusion.estimation.measurement.noise import combined_noise, measure_noise
from napari_diffusion.estimation.patches import sample_patches
from napari_diffusion.estimation.risk_curve import RiskCurve
from napari_diffusion.estimation.search import ESTIMATORS, candidates_of
from napari_diffusion.models import Model, parameters


def starting_model(
    problem: Problem,
    model: Model,
    time_axes: Sequence[int] | None = None,
    cancel: CancelEvent | None = None,
) -> Model:
    """Return a model with the values from which the search of `suggest` begins.

    Parameters
    ----------
    problem
        Image and geometry.
    model
        Model whose values are replaced where `suggest` would choose them.
    time_axes
        Axes along which frames follow one another; ``None`` where that is unknown.
    cancel
        Event that ends the computation.

    Raises
    ------
    ValueError
        If the image shows no noise.
    Cancelled
        When the ``cancel`` event is set.
    """
    patches = sample_patches([problem], cancel, time_axes)
    noises = measure_noise(patches, None, model, cancel)
    noise = combined_noise([one for channels in noises.values() for one in channels])
    edge_noise = noise_of_edges(patches, noise, problem.recipe.guide_weight, cancel)
    curve = RiskCurve(patches, (), problem.weights[problem.filtered_channels], cancel)
    values = {}
    for p in parameters(model):
        if p.suggest in ESTIMATORS:
            candidates = candidates_of(p, noise, edge_noise, curve)
            if candidates.multiples:
                values[p.name] = float(f"{candidates.value(candidates.start):.3g}")
    return dataclasses.replace(model, **values)
