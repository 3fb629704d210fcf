"""Compilation of the kernels by numba, and the cache of their machine code."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numba
import platformdirs
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.registry import cpu_target

from napari_diffusion.backends.numba.code_files import CodeFiles, CompletionMark


def _code_files() -> CodeFiles | None:
    """Return the files for the machine code of these sources and this version of numba.

    They are in a folder of the user, or in the one that ``NUMBA_CACHE_DIR`` names. The result is
    ``None`` if ``NAPARI_DIFFUSION_NO_CACHE`` is set, or if this version of numba stores kernels in
    another way.
    """
    if os.environ.get("NAPARI_DIFFUSION_NO_CACHE"):
        return None
    try:
        from napari_diffusion.backends.numba.kernel_cache import knows_numba
    except ImportError:  # parts of numba that are not public have moved
        return None
    if not knows_numba():
        return None
    parts = Path(__file__).parent, Path(__file__).parents[1] / "reference"
    sources = sorted(path for part in parts for path in part.rglob("*.py"))
    sources.append(Path(__file__).parents[1] / "polynomials.py")
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    settings: Any = numba.config
    if settings.CACHE_DIR:
        caches = Path(settings.CACHE_DIR).absolute() / "napari-diffusion"
    else:
        caches = _user_caches()
    files = CodeFiles(caches / f"{digest}-numba-{numba.__version__}")
    if not caches.is_absolute():  # it would become a folder with the name "~" in the current one
        files.stop_saving(FileNotFoundError(errno.ENOENT, "this user has no home"))
    return files


def _user_caches() -> Path:
    """Return the folder of this user; a relative path if the system does not know the user."""
    try:
        return Path(platformdirs.user_cache_dir("napari-diffusion", appauthor=False))
    except RuntimeError:  # older versions of platformdirs return a relative path
        return Path("~/.cache/napari-diffusion")


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
_files = _code_files()
_compiled: list[Any] = []


class _NoAlias(CompilerBase):
    """Compiler with LLVM's ``noalias``: arrays of a kernel do not overlap, so long loops vectorise.

    numba has the flag, but no option that sets it.
    """

    def define_pipelines(self) -> list[Any]:
        self.state.flags.noalias = True
        return [DefaultPassBuilder.define_nopython_pipeline(self.state)]


def _compile(
    function: Callable[..., Any], contract: bool = True, **options: bool
) -> Callable[..., Any]:
    """Compile a kernel, with the options that all kernels share.

    ``contract`` allows a product and a sum to be rounded once, as one operation.
    """
    compile: Any = numba.njit  # its type hints lack two of the options below
    compiled: Any = compile(
        function,
        nogil=True,
        # No "nnan" or "ninf": NaN keeps its meaning. No "reassoc": it would undo the rounding
        # trick of the exponential. No "arcp": for a fraction with a root as denominator, some
        # processors then estimate the reciprocal in whole vectors, but not at the end of a row.
        fastmath={"contract", "nsz"} if contract else {"nsz"},
        error_model="numpy",
        pipeline_class=_NoAlias,
        **options,
    )
    if compiled is function:  # the user has switched the compiler off
        return function
    if _files is not None:
        from napari_diffusion.backends.numba.kernel_cache import KernelCache

        # numba makes no cache of its own without the option "cache".
        compiled._cache = KernelCache(function, {"contract": contract, **options}, _files)
    _compiled.append(compiled)
    return compiled


def is_compiling() -> bool:
    """Whether a kernel is being compiled at this moment."""
    return any(kernel.is_compiling for kernel in _compiled)


def completion_mark(kind: str) -> CompletionMark | None:
    """Return the mark that exists once all kernels for a kind of run are in the cache.

    The result is ``None`` where no machine code can be cached.
    """
    if _files is None or not _files.can_save:
        return None
    from napari_diffusion.backends.numba.kernel_cache import environment

    key = repr((kind, environment(cpu_target.target_context.codegen()))).encode()
    return CompletionMark(_files, hashlib.sha256(key).hexdigest()[:24], key)


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

    In a sum of two products with selected factors, the compiler may fuse either product with the
    sum. It may choose another one in whole vectors than at the end of a row. Bits would then depend
    on the position.
    """
    return _compile(
        function, contract=False, no_cpython_wrapper=True, no_cfunc_wrapper=True, forceinline=True
    )
