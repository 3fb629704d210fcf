# The public names and the modules that define them. `lazy_loader` reads this file at run time.

from . import models, presets, schemes
from .api.citations import cite
from .api.filters import diffuse, evolve, plan, preview
from .api.measurements import (
    coherence,
    conductance,
    directions,
    gradients,
    integration_error,
    suggest,
)
from .api.stores import diffuse_store, plan_store
from .backends.devices import Device, devices
from .core.cancellation import Cancelled
from .core.gaussian import equivalent_sigma, time_for_sigma
from .diagnostics.gradients import Gradients
from .diagnostics.orientation import Directions
from .engine.in_memory import State
from .engine.out_of_core.block_plan import BlockPlan
from .engine.planner import Plan
from .engine.recipe import Recipe
from .estimation.suggestion import Suggestion
from .models import (
    CoherenceEnhancing,
    EdgeEnhancing,
    FourthOrder,
    Hybrid,
    Linear,
    MeanCurvature,
    MembraneEnhancing,
    MinMaxCurvature,
    Model,
    ModifiedCurvature,
    PeronaMalik,
    Rician,
    SpeckleReducing,
    TotalVariation,
    VesselEnhancing,
)

__all__ = [
    "BlockPlan",
    "Cancelled",
    "CoherenceEnhancing",
    "Device",
    "Directions",
    "EdgeEnhancing",
    "FourthOrder",
    "Gradients",
    "Hybrid",
    "Linear",
    "MeanCurvature",
    "MembraneEnhancing",
    "MinMaxCurvature",
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
    "cite",
    "coherence",
    "conductance",
    "devices",
    "diffuse",
    "diffuse_store",
    "directions",
    "equivalent_sigma",
    "evolve",
    "gradients",
    "integration_error",
    "models",
    "plan",
    "plan_store",
    "presets",
    "preview",
    "schemes",
    "suggest",
    "time_for_sigma",
]
