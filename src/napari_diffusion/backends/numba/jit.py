"""Compilation of the kernels by numba, and the cache of their machine code."""

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
    """Per-user folder for the machine code of these sources and this version of numba.

    Empty if the folder cannot be written or ``NAPARI_DIFFUSION_NO_CACHE`` is set.

    numba's default is the folder of the source file, which may be read-only. Its index ignores the
    versions of this package and of numba. It checks the file of a kernel only, not the files that
    its constants and helpers come from.
    """
    if os.environ.get("NAPARI_DIFFUSION_NO_CACHE"):
        return ""
    sources = sorted(Path(__file__).parents[1].rglob("*.py"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    caches = Path(platformdirs.user_cache_dir("napari-diffusion", appauthor=False))
    folder = caches / f"{digest}-numba-{numba.__version__}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return ""
    return str(folder) if os.access(folder, os.W_OK) else ""


def _import_linear_algebra() -> None:
    """Import numba's linear algebra without importing SciPy's, which takes half of numba's start.

    numba imports it only to check that SciPy is installed. During this import the check searches
    for SciPy instead. The compilation of a matrix product still runs numba's own check.
    """
    from numba.np import linalg

    def check_installed() -> None:
        if find_spec("scipy") is None:
            raise ImportError("scipy")

    # Not part of numba's public interface; without this function the import just takes longer.
    numba_check = getattr(linalg, "ensure_blas", None)
    if numba_check is None:
        return
    linalg.ensure_blas = check_installed
    try:
        import_module("numba.np.arraymath")
    finally:
        linalg.ensure_blas = numba_check


_import_linear_algebra()
_FOLDER = _cache_folder()
_compiled: list[Any] = []


class _NoAlias(CompilerBase):
    """Compiler with LLVM's ``noalias``: arrays of a kernel do not overlap, so long loops vectorise.

    numba has the flag, but no option that sets it.
    """

    def define_pipelines(self) -> list[Any]:
        self.state.flags.noalias = True
        return [DefaultPassBuilder.define_nopython_pipeline(self.state)]


def _name_by_process(compiled: Any) -> None:
    """Give the cache files of each process names of their own.

    numba numbers the files of a kernel by the entries of its index. If two processes saved the same
    kernel for different types at the same moment, one would overwrite the code of the other. The
    index would then return it for the wrong types.
    """
    files: Any = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
    if hasattr(files, "_data_name_pattern"):  # not part of numba's public interface
        files._data_name_pattern = f"{os.getpid()}-{files._data_name_pattern}"


def _compile(
    function: Callable[..., Any], contract: bool = True, **options: bool
) -> Callable[..., Any]:
    """Compile a kernel, with the options that all kernels share.

    ``contract`` allows a product and a sum to be rounded once, as one operation.
    """
    settings: Any = numba.config
    saved, settings.CACHE_DIR = settings.CACHE_DIR, _FOLDER  # numba reads it in the decorator
    try:
        compile: Any = numba.njit  # its type hints lack two of the options below
        compiled: Callable[..., Any] = compile(
            function,
            nogil=True,
            cache=bool(_FOLDER),
            # No "nnan" or "ninf": NaN keeps its meaning. No "reassoc": it would undo the rounding
            # trick of the exponential. No "arcp": for a fraction with a root as denominator, some
            # processors then estimate the reciprocal in whole vectors, but not at the end of a row.
            fastmath={"contract", "nsz"} if contract else {"nsz"},
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
    """Return the file that exists once all kernels for a kind of run are in the cache.

    The result is ``None`` where no machine code is cached. As the machine code, the file depends on
    the versions of Python, on the processor and on the folder of the sources.
    """
    if not _FOLDER:
        return None
    environment = (
        sys.version_info[:2],
        cpu_target.target_context.codegen().magic_tuple(),
        str(Path(__file__).parent),
    )
    digest = hashlib.sha256(repr((kind, environment)).encode()).hexdigest()[:24]
    return Path(_FOLDER) / f"{digest}.done"


def jit(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile on first call; the machine code runs without the GIL."""
    return _compile(function)


def helper(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function that only compiled code calls.

    It gets no wrappers for Python, which take a third of the compilation time.
    """
    return _compile(function, no_cpython_wrapper=True, no_cfunc_wrapper=True)


def row(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a helper for one row of voxels; it is always inlined.

    A call with that many arrays would cost as much as the row.
    """
    return _compile(function, no_cpython_wrapper=True, no_cfunc_wrapper=True, forceinline=True)


def uncontracted_row(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a helper for one row of voxels, in which every operation is rounded by itself.

    In a sum of two products with selected factors, the compiler may join another product with the
    sum in whole vectors than at the end of a row. Bits would then depend on the position.
    """
    return _compile(
        function, contract=False, no_cpython_wrapper=True, no_cfunc_wrapper=True, forceinline=True
    )
