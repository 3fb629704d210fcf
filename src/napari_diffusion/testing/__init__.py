"""Laws that every model, scheme, backend and file format satisfies, as public checks.

``check_model(MyModel())``, ``check_scheme(MyScheme())``, ``check_backend("name")`` and
``check_format("name", folder)`` check all laws for a new entry.
"""

from __future__ import annotations

from napari_diffusion.testing.backends import check_backend
from napari_diffusion.testing.cases import CASES, ROUNDING, Case
from napari_diffusion.testing.formats import check_format
from napari_diffusion.testing.laws import LAWS, check_model
from napari_diffusion.testing.schemes import check_scheme

__all__ = [
    "CASES",
    "LAWS",
    "ROUNDING",
    "Case",
    "check_backend",
    "check_format",
    "check_model",
    "check_scheme",
]
