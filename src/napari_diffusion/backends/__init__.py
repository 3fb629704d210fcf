"""Kernels, the only loops over voxels, in two backends with the same functions.

``"compiled"`` (numba) supports one to three axes of space. ``"reference"`` (NumPy) supports any
number of axes. It is the specification, and the fallback where the compiled backend cannot run.
"""

from __future__ import annotations

import importlib.util
import sys
import warnings
from functools import cache
from pathlib import Path
from typing import Any

from napari_diffusion.backends.protocol import Backend
from napari_diffusion.backends.reference.backend import ReferenceBackend

BACKENDS = ("compiled", "reference")


def get_backend(name: str | None, axes: int) -> Backend:
    """Return the backend for ``axes`` diffusing axes.

    Parameters
    ----------
    name
        One of `BACKENDS`; ``None`` for the compiled backend where it can run.
    axes
        Number of diffusing axes.

    Raises
    ------
    ValueError
        If there is no such backend, or if it does not support that many axes.
    """
    if name is not None and name not in BACKENDS:
        raise ValueError(
            f"There is no backend named {name!r}; the backends are {', '.join(BACKENDS)}."
        )
    if axes > 3 and name == "compiled":
        raise ValueError(
            f"The compiled backend runs 1 to 3 diffusing axes, got {axes}; leave backend=None."
        )
    if axes > 3 or name == "reference":
        return _reference()
    return _compiled() or _reference()


def is_compiling() -> bool:
    """Whether any thread is compiling a kernel at this moment; this does not import numba."""
    jit: Any = sys.modules.get("napari_diffusion.backends.numba.jit")
    # The function is missing while another thread is importing the module.
    return hasattr(jit, "is_compiling") and bool(jit.is_compiling())


def completion_mark(kind: str) -> Path | None:
    """Return the file that exists once all kernels for a kind of run are in the cache.

    The result is ``None`` where no machine code is cached.
    """
    if _compiled() is None:
        return None
    from napari_diffusion.backends.numba import jit

    return jit.completion_mark(kind)


@cache
def _compiled() -> Backend | None:
    if importlib.util.find_spec("numba") is None:
        warnings.warn(
            "numba is not installed: the NumPy kernels do the work, several times slower.",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    from napari_diffusion.backends.numba.backend import NumbaBackend

    return NumbaBackend()


@cache
def _reference() -> Backend:
    return ReferenceBackend()
