"""Storage of numba's compiled kernels in verified files, in place of numba's own cache.

numba's own cache fails on a damaged file in every later run. It stops a run when the disk is full,
and ignores the options of the compiler. It also has an index of its files, which two processes can
overwrite with contradicting entries.

This is the only module that knows how numba stores a kernel. These parts of numba are not public
and are the same from numba 0.60 to 0.68. If they change, no kernel is stored.
"""

from __future__ import annotations

import hashlib
import inspect
import logging
import pickle
import sys
from collections.abc import Callable
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

from napari_diffusion.backends.numba.code_files import CodeFiles

_log = logging.getLogger(__name__)

#: Settings of numba, from its environment variables, that change the machine code.
_SETTINGS = (
    "BOUNDSCHECK",
    "DEBUG_NRT",
    "DEBUGINFO_DEFAULT",
    "DISABLE_INTEL_SVML",
    "ENABLE_PROFILING",
    "EXTEND_VARIABLE_LIFETIMES",
    "JIT_COVERAGE",
    "LLVM_REFPRUNE_FLAGS",
    "LLVM_REFPRUNE_PASS",
    "LOOP_VECTORIZE",
    "OPT",
    "SLP_VECTORIZE",
)


def environment(codegen: Any) -> tuple[Any, ...]:
    """Return what machine code depends on, besides the source files and numba's version.

    Parameters
    ----------
    codegen
        numba's code generator, which knows the processor.
    """
    return (
        sys.implementation.cache_tag,
        getattr(sys, "abiflags", ""),
        llvmlite.__version__,
        np.__version__.split(".")[0],
        codegen.magic_tuple(),
        tuple((name, str(getattr(numba.config, name, None))) for name in _SETTINGS),
    )


class KernelCache(NullCache):
    """The cache of one kernel, with the methods that its dispatcher calls.

    Parameters
    ----------
    function
        The kernel, as a Python function of a module. One with a closure is not stored.
    options
        Options of the compiler; the values are numbers or text.
    files
        The files of all kernels.
    """

    def __init__(self, function: Callable[..., Any], options: Any, files: CodeFiles) -> None:
        self._function, self._options, self._files = function, options, files

    @property
    def cache_path(self) -> str:
        """Folder of the files."""
        return str(self._files.folder)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the compiled kernel for a signature, or ``None`` if it has to be compiled."""
        if self._function.__closure__ is not None:
            return None
        target_context.refresh()
        name, key = self._address(sig, target_context.codegen())
        content = self._files.load(name, key)
        if content is None:
            return None
        try:
            return CompileResult._rebuild(target_context, *pickle.loads(content))
        except Exception as error:  # intact, but of another build of a library: anything may fail
            _log.info("%s is of no use (%r); it is removed.", self._files.folder / name, error)
            self._files.drop(name)
            return None

    def save_overload(self, sig: Any, cres: Any) -> None:
        """Save a compiled kernel, if it can be stored."""
        if self._function.__closure__ or cres.lifted or cres.library.has_dynamic_globals:
            return
        try:
            content = dumps(cres._reduce())
        except Exception as error:  # the kernel is compiled, and the run can go on
            _log.info("%s cannot be stored: %r", self._function.__qualname__, error)
            return
        self._files.save(*self._address(sig, cres.codegen), content)

    def _address(self, sig: Any, codegen: Any) -> tuple[str, bytes]:
        """Return name and key of the file for a signature."""
        function = self._function
        code = function.__code__
        place = function.__module__, function.__qualname__, code.co_firstlineno, code.co_code
        key = repr((place, sorted(self._options.items()), sig, environment(codegen))).encode()
        digest = hashlib.sha256(key).hexdigest()[:24]
        return f"{function.__name__}-{digest}.nbc", key


def knows_numba() -> bool:
    """Whether this version of numba calls its caches as `KernelCache` expects."""
    calls = {"load_overload": ("sig", "target_context"), "save_overload": ("sig", "cres")}
    return all(
        tuple(inspect.signature(getattr(NullCache, name)).parameters) == ("self", *arguments)
        for name, arguments in calls.items()
    ) and all(hasattr(CompileResult, name) for name in ("_reduce", "_rebuild"))
