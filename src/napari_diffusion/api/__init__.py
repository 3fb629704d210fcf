"""The public functions: one flat signature each, passed on to the layers below."""

from __future__ import annotations

from napari_diffusion.api.filters import diffuse, evolve, plan, preview
from napari_diffusion.api.measurements import (
    coherence,
    conductance,
    directions,
    gradients,
    integration_error,
    suggest,
)

__all__ = [
    "coherence",
    "conductance",
    "diffuse",
    "directions",
    "evolve",
    "gradients",
    "integration_error",
    "plan",
    "preview",
    "suggest",
]
