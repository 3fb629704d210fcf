"""How the compiled kernels are compiled, and where their machine code is kept."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numba
import platformdirs
from numba.core.compiler import CompilerBase, DefaultPassBuilder


def _cache_folder() -> str:
    """Per-user folder for this version and compiler; empty when there is nowhere to write or ``NAPARI_DIFFUSION_NO_CACHE`` is set.

    site-packages may be read-only, and no version may find the machine code of another (numba's own index ignores both).
    """
    if os.environ.get("NAPARI_DIFFUSION_NO_CACHE"):
        return ""
    try:
        ours = version("napari-diffusion")
    except PackageNotFoundError:
        ours = "source"
    folder = Path(platformdirs.user_cache_dir("napari-diffusion", appauthor=False)) / f"{ours}-numba-{numba.__version__}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return ""
    return str(folder) if os.access(folder, os.W_OK) else ""


_FOLDER = _cache_folder()


class _NoAlias(CompilerBase):
    """Tells LLVM that arrays of a kernel do not overlap (numba has the flag but no option for it), so that long loops vectorise."""

    def define_pipelines(self) -> list[Any]:
        self.state.flags.noalias = True
        return [DefaultPassBuilder.define_nopython_pipeline(self.state)]


def jit(function: Callable[..., Any], forceinline: bool = False) -> Callable[..., Any]:
    """Compile on first call, without the GIL; NaN keeps its meaning (no ``nnan`` or ``ninf``)."""
    settings: Any = numba.config
    saved, settings.CACHE_DIR = settings.CACHE_DIR, _FOLDER  # numba reads it here, while decorating
    try:
        compiled: Callable[..., Any] = numba.njit(
            function,
            nogil=True,
            cache=bool(_FOLDER),
            fastmath={"contract", "reassoc", "nsz", "arcp"},
            error_model="numpy",
            pipeline_class=_NoAlias,
            forceinline=forceinline,
        )
        return compiled
    finally:
        settings.CACHE_DIR = saved


def row(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a helper that works along one row; it is always inlined, since a call with this many arrays costs as much as the row."""
    return jit(function, forceinline=True)
