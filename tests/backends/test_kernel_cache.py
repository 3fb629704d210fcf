"""Stored kernels: what cannot be used is compiled anew, and the run never notices."""

import pickle
import random

import numba
import numpy as np
import pytest
from numba.core.caching import NullCache

from helpers.tiny_kernel import compiled, halve, triple
from napari_diffusion.backends.numba import jit, kernel_cache
from napari_diffusion.backends.numba.code_files import CodeFiles


@pytest.fixture
def files(tmp_path):
    return CodeFiles(tmp_path)


def loads(function, files, factor, dtype="f4", **options):
    """Run a kernel in a new dispatcher, check its result, and return whether it was loaded."""
    kernel, q = compiled(function, files, **options), np.arange(1, 6, dtype=dtype)
    kernel(q)
    np.testing.assert_array_equal(q, np.arange(1, 6) * factor)
    hits, misses = (sum(counts.values()) for counts in (kernel.stats[1], kernel.stats[2]))
    assert hits + misses == 1
    return hits == 1


def file_of(function, files):
    (path,) = files.folder.glob(f"{function.__name__}-*.nbc")
    return path


def damages():
    """Return 60 seeded kinds of damage by name: the places are shares of the length."""
    rng = random.Random(5)
    cuts = {f"cut at {share:.4f}": ("cut", share) for share in [rng.random() for _ in range(30)]}
    flips = {f"bit at {share:.4f}": ("flip", share) for share in [rng.random() for _ in range(30)]}
    return {"empty": ("cut", 0.0), "zeros": ("zeros", 0), "longer": ("longer", 0)} | cuts | flips


@pytest.mark.parametrize(("kind", "share"), damages().values(), ids=damages())
def test_damaged_file_is_compiled_anew(kind, share, files):
    """Damaged machine code would crash, or compute wrong numbers."""
    assert not loads(triple, files, 3)
    path = file_of(triple, files)
    data = bytearray(path.read_bytes())
    place = int(share * len(data))
    if kind == "cut":
        del data[place:]
    elif kind == "flip":
        data[place] ^= 1 << (place % 8)
    elif kind == "zeros":
        data = bytearray(len(data))
    else:
        data += b"\0"
    path.write_bytes(data)
    assert not loads(triple, files, 3)
    assert loads(triple, files, 3)


def test_files_that_were_exchanged_are_compiled_anew(files):
    assert not loads(triple, files, 3)
    assert not loads(halve, files, 0.5)
    first, second = file_of(triple, files), file_of(halve, files)
    contents = first.read_bytes(), second.read_bytes()
    first.write_bytes(contents[1])
    second.write_bytes(contents[0])
    assert not loads(triple, files, 3)
    assert not loads(halve, files, 0.5)
    assert loads(triple, files, 3)
    assert loads(halve, files, 0.5)


def test_each_type_has_a_file(files):
    assert not loads(triple, files, 3)
    assert not loads(triple, files, 3, dtype="f8")
    assert loads(triple, files, 3)
    assert loads(triple, files, 3, dtype="f8")
    assert len(list(files.folder.iterdir())) == 2


def test_options_of_the_compiler_have_files_of_their_own(files):
    assert not loads(triple, files, 3, contract=True)
    assert not loads(triple, files, 3, contract=False)
    assert loads(triple, files, 3, contract=True)


@pytest.mark.parametrize(("name", "value"), [("OPT", 0), ("BOUNDSCHECK", 1), ("LOOP_VECTORIZE", 0)])
def test_settings_of_numba_have_files_of_their_own(name, value, files, monkeypatch):
    """A later process without the setting would run slow code."""
    assert not loads(triple, files, 3)
    with monkeypatch.context() as changed:
        changed.setattr(numba.config, name, value)
        assert not loads(triple, files, 3)
        assert loads(triple, files, 3)
    assert loads(triple, files, 3)


def test_settings_exist_in_this_version_of_numba():
    missing = [name for name in kernel_cache._SETTINGS if not hasattr(numba.config, name)]
    # Settings of one version only: profiling and coverage came later.
    assert set(missing) <= {"ENABLE_PROFILING", "JIT_COVERAGE", "USE_LLVMLITE_MEMORY_MANAGER"}


class _Raising:
    """An object whose pickle raises an error when it is loaded."""

    def __init__(self, error):
        self.error = error

    def __reduce__(self):
        return _raise, (self.error,)


def _raise(error):
    raise error


@pytest.mark.parametrize(
    "error",
    [
        EOFError("Ran out of input"),
        ReferenceError("underlying object has vanished"),
        ModuleNotFoundError("No module named 'numpy._core'"),
        TypeError("_rebuild() takes 10 positional arguments"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_intact_file_of_another_build_of_a_library_is_compiled_anew(error, files, monkeypatch):
    with monkeypatch.context() as other:
        other.setattr(kernel_cache, "dumps", lambda _: pickle.dumps(_Raising(error)))
        assert not loads(triple, files, 3)
    assert not loads(triple, files, 3)
    assert loads(triple, files, 3)


def test_kernel_that_cannot_be_stored_runs(files, monkeypatch):
    def refuse(content):
        raise ReferenceError("underlying object has vanished")

    monkeypatch.setattr(kernel_cache, "dumps", refuse)
    assert not loads(triple, files, 3)
    assert not list(files.folder.iterdir())


def test_kernel_with_a_closure_is_not_stored(files):
    """Its file would have to depend on the values of the closure."""
    factor = 7

    def multiply(q):
        for i in range(q.size):
            q[i] *= factor

    assert not loads(multiply, files, 7)
    assert not list(files.folder.iterdir())


def test_another_protocol_of_numba_means_no_cache(monkeypatch):
    assert jit._code_files() is None or kernel_cache.knows_numba()
    assert kernel_cache.knows_numba()
    monkeypatch.delenv("NAPARI_DIFFUSION_NO_CACHE", raising=False)
    assert jit._code_files() is not None
    monkeypatch.setattr(NullCache, "load_overload", lambda self, sig, context, version: None)
    assert jit._code_files() is None
