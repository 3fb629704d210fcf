"""The diffusion models, in menu order.

Widgets, command line, documentation and tests take their models from `BUILTIN`.
"""

from __future__ import annotations

import warnings
from importlib.metadata import entry_points

from napari_diffusion.models.base import Model, Parameter, param, parameters
from napari_diffusion.models.coherence_enhancing import CoherenceEnhancing
from napari_diffusion.models.edge_enhancing import EdgeEnhancing
from napari_diffusion.models.hybrid import Hybrid
from napari_diffusion.models.linear import Linear
from napari_diffusion.models.mean_curvature import MeanCurvature
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
    MeanCurvature,
    ModifiedCurvature,
    EdgeEnhancing,
    CoherenceEnhancing,
    Hybrid,
    VesselEnhancing,
    SpeckleReducing,
    Rician,
)
ENTRY_POINT_GROUP = "napari_diffusion.models"


def all_models() -> tuple[type[Model], ...]:
    """Return the built-in models, then the models that other packages register.

    Other packages register a model under the entry point group ``napari_diffusion.models``. An
    entry that cannot be loaded, or is not a model, is skipped with a warning.
    """
    models = list(BUILTIN)
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        try:
            model = entry.load()
            if not (isinstance(model, type) and issubclass(model, Model)):
                raise TypeError(f"{model!r} is no subclass of napari_diffusion.models.Model")
        except Exception as error:  # other packages may raise anything
            warnings.warn(
                f"The model {entry.name!r} ({entry.value}) cannot be used: {error}.",
                RuntimeWarning,
                stacklevel=2,
            )
        else:
            models.append(model)
    return tuple(models)


def get(name: str) -> type[Model]:
    """Return the model class with this command-line name.

    Raises
    ------
    ValueError
        If no model has this name. The message lists the names.
    """
    known = {model.name: model for model in all_models()}
    if name not in tuple(known):  # a tuple, since the name may be unhashable
        raise ValueError(f"There is no model named {name!r}; the models are {', '.join(known)}.")
    return known[name]


__all__ = [
    "BUILTIN",
    "ENTRY_POINT_GROUP",
    "CoherenceEnhancing",
    "EdgeEnhancing",
    "Hybrid",
    "Linear",
    "MeanCurvature",
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
