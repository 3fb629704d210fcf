"""How the compiled kernels are compiled, and where their machine code is kept."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numba
import platformdirs
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.registry import cpu_target


def _cache_folder() -> str:
    """Per-user folder for these kernels and this compiler; empty when there is nowhere to write or ``NAPARI_DIFFUSION_NO_CACHE`` is set.

    site-packages may be read-only, and no version may find the machine code of another: numba's own index ignores both, and it looks at
    the file of a kernel only, not at those that its constants and helpers come from.
    """
    if os.environ.get("NAPARI_DIFFUSION_NO_CACHE"):
        return ""
    sources = sorted(Path(__file__).parents[1].rglob("*.py"))
    ours = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    folder = (
        Path(platformdirs.user_cache_dir("napari-diffusion", appauthor=False))
        / f"{ours}-numba-{numba.__version__}"
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return ""
    return str(folder) if os.access(folder, os.W_OK) else ""


def _import_linear_algebra() -> None:
    """Import numba's linear algebra without SciPy's, which numba loads only to see that it is there; it takes half of numba's start.

    Whoever compiles a matrix product still gets numba's own check: only the one at import is answered by looking for SciPy.
    """
    from numba.np import linalg

    def installed() -> None:
        if find_spec("scipy") is None:
            raise ImportError("scipy")

    checked = getattr(
        linalg, "ensure_blas", None
    )  # no promise of numba's: without it, the import takes its time
    if checked is None:
        return
    linalg.ensure_blas = installed
    try:
        import_module("numba.np.arraymath")
    finally:
        linalg.ensure_blas = checked


_import_linear_algebra()
_FOLDER = _cache_folder()
_compiled: list[Any] = []


class _NoAlias(CompilerBase):
    """Tells LLVM that arrays of a kernel do not overlap (numba has the flag but no option for it), so that long loops vectorise."""

    def define_pipelines(self) -> list[Any]:
        self.state.flags.noalias = True
        return [DefaultPassBuilder.define_nopython_pipeline(self.state)]


def _name_by_process(compiled: Any) -> None:
    """Let no two processes choose the same file for their machine code.

    numba numbers the files of a kernel by what it has read of the index. Of two processes that save the same kernel for other types at
    the same moment, one would overwrite the code of the other, and the index would offer it for the wrong types.
    """
    files: Any = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
    if hasattr(files, "_data_name_pattern"):  # no promise of numba's
        files._data_name_pattern = f"{os.getpid()}-{files._data_name_pattern}"


def _compile(function: Callable[..., Any], **options: bool) -> Callable[..., Any]:
    settings: Any = numba.config
    saved, settings.CACHE_DIR = settings.CACHE_DIR, _FOLDER  # numba reads it here, while decorating
    try:
        compile: Any = numba.njit  # its type hints leave out two of the options below
        compiled: Callable[..., Any] = compile(
            function,
            nogil=True,
            cache=bool(_FOLDER),
            # No "nnan" or "ninf": NaN keeps its meaning. No "reassoc": it would undo the rounding trick of the exponential. No "arcp": of a
            # root below a fraction some processors then estimate the reciprocal in whole vectors, but not in what is left of a row.
            fastmath={"contract", "nsz"},
            error_model="numpy",
            pipeline_class=_NoAlias,
            **options,
        )
        _name_by_process(compiled)
        _compiled.append(compiled)
        return compiled
    finally:
        settings.CACHE_DIR = saved


def is_compiling() -> bool:
    """Whether a kernel is being compiled at this moment."""
    return any(kernel.is_compiling for kernel in _compiled)


def completion_mark(kind: str) -> Path | None:
    """Return the file whose existence says that all kernels for something are in the cache; ``None`` where nothing is kept.

    It is another one wherever numba looks for other machine code: for another Python, processor or place of the sources.
    """
    if not _FOLDER:
        return None
    environment = (
        sys.version_info[:2],
        cpu_target.target_context.codegen().magic_tuple(),
        str(Path(__file__).parent),
    )
    return (
        Path(_FOLDER)
        / f"{hashlib.sha256(repr((kind, environment)).encode()).hexdigest()[:24]}.done"
    )


def jit(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile on first call, without the GIL."""
    return _compile(function)


def helper(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function that only compiled code calls: without the wrappers for Python, which take a third of the compilation."""
    return _compile(function, no_cpython_wrapper=True, no_cfunc_wrapper=True)


def row(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a helper that works along one row; it is always inlined, since a call with this many arrays costs as much as the row."""
    return _compile(function, no_cpython_wrapper=True, no_cfunc_wrapper=True, forceinline=True)
