"""Kernels, the only loops over voxels, in backends with the same functions.

``"compiled"`` (numba) supports one to three axes of space. ``"reference"`` (NumPy) supports any
number of axes. It is the specification, and the fallback where the compiled backend cannot run.
Other packages register backends under the entry point group ``napari_diffusion.backends``.
"""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

from napari_diffusion.backends.base import Backend
from napari_diffusion.backends.numba.backend import NumbaBackend
from napari_diffusion.backends.reference.backend import ReferenceBackend
from napari_diffusion.core.registry import Registry


def _check(entry: Any) -> None:
    if not (isinstance(entry, type) and issubclass(entry, Backend)):
        raise TypeError(f"{entry!r} is no subclass of napari_diffusion.backends.base.Backend")


#: The backends of this package, the fastest first, and those of other packages.
REGISTRY: Registry[type[Backend]] = Registry(
    "backend", "napari_diffusion.backends", (NumbaBackend, ReferenceBackend), _check
)


def checked_name(name: Any) -> str:
    """Return the name of a backend; raises ValueError if there is none of that name."""
    return REGISTRY.get(name).name


def get_backend(name: str | None, axes: int, calls_function: bool = False) -> Backend:
    """Return the backend for ``axes`` diffusing axes.

    Parameters
    ----------
    name
        Name of a backend; ``None`` for the fastest one of this package that can run.
    axes
        Number of diffusing axes.
    calls_function
        Whether the backend must call a diffusivity function of the user at every face.

    Raises
    ------
    ValueError
        If there is no such backend, or if it cannot run.
    """
    kind: Any
    if name is None:
        for kind in REGISTRY.builtin:
            if _refusal(kind, axes, calls_function) is None and _can_run(kind):
                return _instance(kind)
    kind = REGISTRY.get(name)
    reason = _refusal(kind, axes, calls_function)
    if reason is not None:
        raise ValueError(f"The {name} backend {reason}.")
    if not _can_run(kind):
        return _instance(ReferenceBackend)
    return _instance(kind)


def _refusal(kind: Any, axes: int, calls_function: bool) -> str | None:
    """Return why a backend cannot run, as the end of a sentence; ``None`` if it can."""
    if axes > kind.max_axes:
        return f"runs 1 to {kind.max_axes} diffusing axes, got {axes}; leave backend=None"
    if calls_function and not kind.calls_functions:
        return "cannot call a diffusivity function on faces; leave backend=None, or give sigma > 0"
    return None


def is_compiling() -> bool:
    """Whether a backend of this package compiles a kernel at this moment; imports no numba."""
    kinds: tuple[Any, ...] = REGISTRY.builtin
    return any(_instance(kind).is_compiling() for kind in kinds)


@cache
def _can_run(kind: Any) -> bool:
    obstacle = kind.obstacle()
    if obstacle is None:
        return True
    warnings.warn(
        f"{obstacle}: the NumPy kernels do the work, several times slower.",
        RuntimeWarning,
        stacklevel=3,
    )
    return False


@cache
def _instance(kind: Any) -> Backend:
    backend: Backend = kind()
    return backend
