"""Diffusion filters for microscopy and MRI volumes: N-D, in physical units, stable.

>>> import numpy as np
>>> import napari_diffusion as nd
>>> smooth = nd.diffuse(np.eye(8, dtype=np.float32), nd.Linear(), time=2.0, spacing=(1.0, 0.5))
"""

from importlib import import_module as _import_module
from typing import Any as _Any

import lazy_loader

# Names are imported on first use, so that the import itself loads neither numba nor SciPy.
_public_name, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> _Any:
    """Return a public name, or the package of the widgets, which needs napari."""
    return _import_module("napari_diffusion.ui") if name == "ui" else _public_name(name)
