"""The diffusion models, in menu order.

Widgets, command line, documentation and tests take their models from `BUILTIN`.
"""

from __future__ import annotations

from typing import Any

from napari_diffusion.core.registry import Registry
from napari_diffusion.models.base import Model, Parameter, check_declaration, param, parameters
from napari_diffusion.models.coherence_enhancing import CoherenceEnhancing
from napari_diffusion.models.edge_enhancing import EdgeEnhancing
from napari_diffusion.models.fourth_order import FourthOrder
from napari_diffusion.models.hybrid import Hybrid
from napari_diffusion.models.linear import Linear
from napari_diffusion.models.mean_curvature import MeanCurvature
from napari_diffusion.models.membrane_enhancing import MembraneEnhancing
from napari_diffusion.models.min_max_curvature import MinMaxCurvature
from napari_diffusion.models.modified_curvature import ModifiedCurvature
from napari_diffusion.models.perona_malik import PeronaMalik
from napari_diffusion.models.rician import Rician
from napari_diffusion.models.speckle_reducing import SpeckleReducing
from napari_diffusion.models.total_variation import TotalVariation
from napari_diffusion.models.vessel_enhancing import VesselEnhancing

BUILTIN: tuple[type[Model], ...] = (
    Linear,
    PeronaMalik,
    TotalVariation,
    FourthOrder,
    MeanCurvature,
    ModifiedCurvature,
    MinMaxCurvature,
    EdgeEnhancing,
    CoherenceEnhancing,
    Hybrid,
    VesselEnhancing,
    MembraneEnhancing,
    SpeckleReducing,
    Rician,
)


def _check(entry: Any) -> None:
    if not (isinstance(entry, type) and issubclass(entry, Model)):
        raise TypeError(f"{entry!r} is no subclass of napari_diffusion.models.Model")
    check_declaration(entry)


#: The models of this package, in menu order, and those of other packages.
REGISTRY: Registry[type[Model]] = Registry("model", "napari_diffusion.models", BUILTIN, _check)


def all_models() -> tuple[type[Model], ...]:
    """Return the built-in models, then the models that other packages register.

    Other packages register a model under the entry point group ``napari_diffusion.models``. An
    entry that cannot be loaded, or is not a model, is skipped with a warning.
    """
    return REGISTRY.all()


def get(name: str) -> type[Model]:
    """Return the model class with this command-line name.

    Raises
    ------
    ValueError
        If no model has this name. The message lists the names.
    """
    return REGISTRY.get(name)


__all__ = [
    "BUILTIN",
    "REGISTRY",
    "CoherenceEnhancing",
    "EdgeEnhancing",
    "FourthOrder",
    "Hybrid",
    "Linear",
    "MeanCurvature",
    "MembraneEnhancing",
    "MinMaxCurvature",
    "Model",
    "ModifiedCurvature",
    "Parameter",
    "PeronaMalik",
    "Rician",
    "SpeckleReducing",
    "TotalVariation",
    "VesselEnhancing",
    "all_models",
    "get",
    "param",
    "parameters",
]
