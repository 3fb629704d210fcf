"""Diffusion filters for microscopy and MRI volumes: N-D, in physical units, stable.

>>> import numpy as np
>>> import napari_diffusion as nd
>>> smooth = nd.diffuse(np.eye(8, dtype=np.float32), nd.Linear(), time=2.0, spacing=(1.0, 0.5))
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_diffusion import models, schemes
    from napari_diffusion.engine.accuracy import integration_error
    from napari_diffusion.engine.directions import Directions, coherence, directions
    from napari_diffusion.engine.edges import Gradients, conductance, gradients
    from napari_diffusion.engine.evolve import State, diffuse, evolve
    from napari_diffusion.engine.plan import Plan, plan
    from napari_diffusion.engine.preview import preview
    from napari_diffusion.engine.recipe import Recipe, equivalent_sigma, time_for_sigma
    from napari_diffusion.engine.slabs import Cancelled
    from napari_diffusion.engine.suggest import Suggestion, suggest
    from napari_diffusion.models import (
        CoherenceEnhancing,
        EdgeEnhancing,
        Hybrid,
        Linear,
        MeanCurvature,
        Model,
        ModifiedCurvature,
        PeronaMalik,
        Rician,
        SpeckleReducing,
        TotalVariation,
        VesselEnhancing,
    )

# Loaded on first use: `import napari_diffusion` stays below 0.1 s and pulls in neither numba nor SciPy.
_HOME = {
    "diffuse": "engine.evolve",
    "evolve": "engine.evolve",
    "State": "engine.evolve",
    "plan": "engine.plan",
    "Plan": "engine.plan",
    "preview": "engine.preview",
    "conductance": "engine.edges",
    "coherence": "engine.directions",
    "directions": "engine.directions",
    "Directions": "engine.directions",
    "gradients": "engine.edges",
    "Gradients": "engine.edges",
    "integration_error": "engine.accuracy",
    "Recipe": "engine.recipe",
    "equivalent_sigma": "engine.recipe",
    "time_for_sigma": "engine.recipe",
    "Cancelled": "engine.slabs",
    "suggest": "engine.suggest",
    "Suggestion": "engine.suggest",
    "Model": "models",
    "CoherenceEnhancing": "models",
    "EdgeEnhancing": "models",
    "Hybrid": "models",
    "Linear": "models",
    "MeanCurvature": "models",
    "ModifiedCurvature": "models",
    "PeronaMalik": "models",
    "Rician": "models",
    "SpeckleReducing": "models",
    "TotalVariation": "models",
    "VesselEnhancing": "models",
    "models": "",
    "schemes": "",
}

__all__ = [
    "Cancelled",
    "CoherenceEnhancing",
    "Directions",
    "EdgeEnhancing",
    "Gradients",
    "Hybrid",
    "Linear",
    "MeanCurvature",
    "Model",
    "ModifiedCurvature",
    "PeronaMalik",
    "Plan",
    "Recipe",
    "Rician",
    "SpeckleReducing",
    "State",
    "Suggestion",
    "TotalVariation",
    "VesselEnhancing",
    "coherence",
    "conductance",
    "diffuse",
    "directions",
    "equivalent_sigma",
    "evolve",
    "gradients",
    "integration_error",
    "models",
    "plan",
    "preview",
    "schemes",
    "suggest",
    "time_for_sigma",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOME[name]
    value = getattr(import_module(f"{__name__}.{home}"), name) if home else import_module(f"{__name__}.{name}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
